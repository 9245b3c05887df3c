"""The history of a run's retrainings: labels that were tried in place of the given ones, and what models made of them.

It lies in `reviews.duckdb`, beside the verdicts that the labels came from.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from trak_core.store.review_file import History, digits_of, utc


@dataclass(frozen=True)
class Corrections:
    """What was found wrong with the labels of the train examples."""

    relabelled: tuple[tuple[int, int], ...] = ()  # train example and its new label, by train example
    excluded: tuple[int, ...] = ()  # numbers of the train examples that belong to no class, in order

    @cached_property
    def new_labels(self) -> dict[int, int | None]:
        """The new label of every train example that was found wrong, None for what is left out; in order."""
        found: dict[int, int | None] = {**dict(self.relabelled), **dict.fromkeys(self.excluded)}
        return dict(sorted(found.items()))

    @property
    def wrong(self) -> tuple[int, ...]:
        """All train examples that were found wrong, in order."""
        return tuple(self.new_labels)

    def n_differing(self, other: "Corrections") -> int:
        """Of how many train examples the two do not say the same."""
        ours, theirs = set(self.new_labels.items()), set(other.new_labels.items())
        return len({idx for idx, _ in ours ^ theirs})


@dataclass(frozen=True)
class LabelTrial:
    """What is asked: how good are models that learn from corrected labels?"""

    fingerprint: str  # of the run's data, model and settings
    corrections: Corrections  # of its labels
    n_seeds: int  # models to train on each set of labels

    @property
    def retraining_id(self) -> str:
        """Hex digits that two trials share only if they are the same."""
        return digits_of(self.fingerprint, self.corrections.relabelled, self.corrections.excluded, self.n_seeds)


@dataclass(frozen=True)
class Estimate:
    """A mean over models and test examples, with two 95% intervals."""

    mean: float  # over all of them
    low: float  # lower end of the interval that holds for other seeds and other test examples
    high: float  # its upper end
    seeds_low: float  # lower end of the interval that holds for other seeds and these very test examples
    seeds_high: float  # its upper end

    @property
    def is_clear(self) -> bool:
        """True for a difference that chance alone would hardly make: the wider interval does not hold 0."""
        return self.low > 0 or self.high < 0

    @property
    def is_clear_here(self) -> bool:
        """True for a difference that other seeds would hardly undo on these very test examples."""
        return self.seeds_low > 0 or self.seeds_high < 0


@dataclass(frozen=True)
class LabelSet:
    """What models learned from one set of labels."""

    accuracy: Estimate  # share of the test examples that they get right, 0 to 1
    by_seed: tuple[float, ...]  # the accuracy of each model
    n_right: tuple[int, ...]  # models that get a test example right, one number each
    margins: tuple[float, ...]  # mean margin of the label of each test example
    # the answer that most models give to each; where as many give the label, it is the other one
    answers: tuple[int, ...]


@dataclass(frozen=True)
class Retraining:
    """What retraining answered. Models of one seed begin alike and see the same batches, whatever the labels."""

    trial: LabelTrial  # that was asked
    asked_at: datetime  # UTC
    kept: LabelSet  # models that learned from the labels as given
    cleaned: LabelSet  # from the new labels, without what is excluded
    excluded: LabelSet  # from the labels as given, without all that was found wrong
    gain_cleaned: Estimate  # accuracy of `cleaned` less that of `kept`, seed by seed
    gain_excluded: Estimate  # accuracy of `excluded` less that of `kept`, seed by seed
    n_models: int  # models on each set of labels, without the seeds of which one diverged
    seconds: float  # that training took


class RetrainingHistory(History[LabelTrial, Retraining]):
    """The retrainings of one run."""

    table, key, title = "retrainings", "retraining_id", "retraining"
    asked = ("n_seeds", "relabelled", "new_labels", "excluded")

    def _row(self, answer: Retraining) -> dict[str, Any]:
        trial, result = answer.trial, asdict(answer)
        del result["trial"], result["asked_at"]
        return {
            "retraining_id": trial.retraining_id,
            "asked_at": utc(answer.asked_at),
            "fingerprint": trial.fingerprint,
            "n_seeds": trial.n_seeds,
            "relabelled": [idx for idx, _ in trial.corrections.relabelled],
            "new_labels": [label for _, label in trial.corrections.relabelled],
            "excluded": list(trial.corrections.excluded),
            "result": json.dumps(result),
        }

    def _answer(self, fingerprint: str, asked_at: datetime, found: dict[str, Any], *asked: Any) -> Retraining:
        n_seeds, relabelled, new_labels, excluded = asked
        corrections = Corrections(tuple(zip(relabelled, new_labels, strict=True)), tuple(excluded))
        values: dict[str, Any] = {name: _label_set(found.pop(name)) for name in ("kept", "cleaned", "excluded")}
        values |= {name: Estimate(**found.pop(name)) for name in ("gain_cleaned", "gain_excluded")}
        return Retraining(LabelTrial(fingerprint, corrections, n_seeds), asked_at, **values, **found)


def _label_set(found: dict[str, Any]) -> LabelSet:
    lists = {name: tuple(found[name]) for name in ("by_seed", "n_right", "margins", "answers")}
    return LabelSet(accuracy=Estimate(**found["accuracy"]), **lists)
