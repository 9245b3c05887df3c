"""The history of a run's what-ifs: which train examples were taken away, and what retrained models then said.

It lies in `reviews.duckdb`, beside the verdicts.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from trak_core.store.review_file import History, digits_of, utc


@dataclass(frozen=True)
class Question:
    """What is asked: how would the answer change without some train examples?"""

    fingerprint: str  # of the run's data, model and settings
    test_idx: int  # of the test example
    removed: tuple[int, ...]  # numbers of the train examples, in order
    n_seeds: int  # pairs of models to train

    @property
    def what_if_id(self) -> str:
        """Hex digits that two questions share only if they are the same."""
        return digits_of(self.fingerprint, self.test_idx, self.removed, self.n_seeds)


@dataclass(frozen=True)
class Verified:
    """What retraining answered. Lists have an entry for each class, or one where there are no classes."""

    question: Question  # that was asked
    asked_at: datetime  # UTC
    before: tuple[float, ...]  # model outputs with all train examples, mean over seeds
    after: tuple[float, ...]  # model outputs without the removed ones, with the same seeds
    low: tuple[float, ...]  # lower ends of the 95% intervals of `after - before`
    high: tuple[float, ...]  # upper ends
    answer_before: int  # the class that most models with everything give
    answer_after: int  # the class that most models without the removed ones give
    share_flipped: float  # of the seeds whose answer changed, 0 to 1
    n_pairs: int  # seeds of which neither model diverged
    seconds: float  # that training took

    @property
    def change(self) -> tuple[float, ...]:
        """Of the model output of each class, mean over seeds."""
        return tuple(after - before for before, after in zip(self.before, self.after, strict=True))


class WhatIfHistory(History[Question, Verified]):
    """The what-ifs of one run."""

    table, key, title = "what_ifs", "what_if_id", "what-if"
    asked = ("test_idx", "removed")

    def _row(self, answer: Verified) -> dict[str, Any]:
        question, result = answer.question, asdict(answer)
        del result["question"], result["asked_at"]
        return {
            "what_if_id": question.what_if_id,
            "asked_at": utc(answer.asked_at),
            "fingerprint": question.fingerprint,
            "test_idx": question.test_idx,
            "removed": list(question.removed),
            "result": json.dumps({**result, "n_seeds": question.n_seeds}),
        }

    def _answer(self, fingerprint: str, asked_at: datetime, found: dict[str, Any], *asked: Any) -> Verified:
        test_idx, removed = asked
        question = Question(fingerprint, test_idx, tuple(removed), found.pop("n_seeds"))
        values: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in found.items()}
        return Verified(question, asked_at, **values)
