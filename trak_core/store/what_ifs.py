"""The history of a run's what-ifs: which train examples were taken away, and what retrained models then said.

It lies in `reviews.duckdb`, beside the verdicts. What was asked once is never retrained again, and what was found is
never changed. Answers that were found before the run was built anew stay in the file and are not shown.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from trak_core.errors import StoreDamagedError
from trak_core.store.review_file import ReviewFile


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
        parts = [self.fingerprint, self.test_idx, list(self.removed), self.n_seeds]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


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


class WhatIfHistory:
    """The what-ifs of one run. Safe to use from several threads and processes.

    Args:
        run_dir: of the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self._file = ReviewFile(run_dir)

    def find(self, question: Question) -> Verified | None:
        """The answer to a question; None when it was never finished.

        Raises:
            StorageError: the file is held by another process for long, or the disk fails.
            StoreDamagedError: the file cannot be read.
        """
        found = self._select("what_if_id = ?", [question.what_if_id])
        return found[0] if found else None

    def of_run(self, fingerprint: str) -> list[Verified]:
        """All answers about the run as it is built now, newest first; errors are those of `find`."""
        return self._select("fingerprint = ?", [fingerprint])

    def add(self, verified: Verified) -> None:
        """Keeps an answer; one that is there already stays as it is. Errors are those of `find`."""
        question = verified.question
        result = asdict(verified)
        del result["question"], result["asked_at"]
        self._file.write(
            "INSERT OR IGNORE INTO what_ifs(what_if_id, asked_at, fingerprint, test_idx, removed, result) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    question.what_if_id,
                    verified.asked_at.astimezone(UTC).replace(tzinfo=None),
                    question.fingerprint,
                    question.test_idx,
                    list(question.removed),
                    json.dumps({**result, "n_seeds": question.n_seeds}),
                )
            ],
        )

    def _select(self, where: str, params: Sequence[object]) -> list[Verified]:
        rows = self._file.rows(
            "SELECT fingerprint, test_idx, removed, asked_at, result FROM what_ifs "
            f"WHERE {where} ORDER BY asked_at DESC, what_if_id",
            params,
        )
        try:
            return [_verified(*row) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamagedError(
                f"{self._file.path} holds a what-if that cannot be read ({type(error).__name__}: {error}); restore it "
                "from a copy, or move it away to begin a new history."
            ) from error


def _verified(fingerprint: str, test_idx: int, removed: list[int], asked_at: datetime, result: str) -> Verified:
    found = json.loads(result)
    return Verified(
        question=Question(fingerprint, test_idx, tuple(removed), found["n_seeds"]),
        asked_at=asked_at.replace(tzinfo=UTC),
        before=tuple(found["before"]),
        after=tuple(found["after"]),
        low=tuple(found["low"]),
        high=tuple(found["high"]),
        answer_before=found["answer_before"],
        answer_after=found["answer_after"],
        share_flipped=found["share_flipped"],
        n_pairs=found["n_pairs"],
        seconds=found["seconds"],
    )
