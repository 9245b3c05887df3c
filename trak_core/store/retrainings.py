"""The history of a run's retrainings: labels that were tried in place of the given ones, and what models made of them.

It lies in `reviews.duckdb`, beside the verdicts that the labels came from. The same labels are never retrained
twice with as many models, and what was found is never changed. Answers that were found before the run was built anew
stay in the file and are not shown.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from trak_core.errors import StoreDamagedError
from trak_core.store.review_file import ReviewFile


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
        parts = [self.fingerprint, self.corrections.relabelled, self.corrections.excluded, self.n_seeds]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


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


class RetrainingHistory:
    """The retrainings of one run. Safe to use from several threads and processes.

    Args:
        run_dir: of the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self._file = ReviewFile(run_dir)

    def find(self, trial: LabelTrial) -> Retraining | None:
        """The answer to a trial; None when it was never finished.

        Raises:
            StorageError: the file is held by another process for long, or the disk fails.
            StoreDamagedError: the file cannot be read.
        """
        found = self._select("retraining_id = ?", [trial.retraining_id])
        return found[0] if found else None

    def of_run(self, fingerprint: str) -> list[Retraining]:
        """All answers about the run as it is built now, newest first; errors are those of `find`."""
        return self._select("fingerprint = ?", [fingerprint])

    def add(self, retraining: Retraining) -> None:
        """Keeps an answer; one that is there already stays as it is. Errors are those of `find`."""
        trial = retraining.trial
        result = asdict(retraining)
        del result["trial"], result["asked_at"]
        self._file.write(
            "INSERT OR IGNORE INTO retrainings(retraining_id, asked_at, fingerprint, n_seeds, relabelled, new_labels, "
            "excluded, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    trial.retraining_id,
                    retraining.asked_at.astimezone(UTC).replace(tzinfo=None),
                    trial.fingerprint,
                    trial.n_seeds,
                    [idx for idx, _ in trial.corrections.relabelled],
                    [label for _, label in trial.corrections.relabelled],
                    list(trial.corrections.excluded),
                    json.dumps(result),
                )
            ],
        )

    def _select(self, where: str, params: Sequence[object]) -> list[Retraining]:
        rows = self._file.rows(
            "SELECT fingerprint, n_seeds, relabelled, new_labels, excluded, asked_at, result FROM retrainings "
            f"WHERE {where} ORDER BY asked_at DESC, retraining_id",
            params,
        )
        try:
            return [_retraining(*row) for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamagedError(
                f"{self._file.path} holds a retraining that cannot be read ({type(error).__name__}: {error}); restore "
                "it from a copy, or move it away to begin a new history."
            ) from error


def _retraining(
    fingerprint: str,
    n_seeds: int,
    relabelled: list[int],
    new_labels: list[int],
    excluded: list[int],
    asked_at: datetime,
    result: str,
) -> Retraining:
    found = json.loads(result)
    corrections = Corrections(tuple(zip(relabelled, new_labels, strict=True)), tuple(excluded))
    return Retraining(
        trial=LabelTrial(fingerprint, corrections, n_seeds),
        asked_at=asked_at.replace(tzinfo=UTC),
        kept=_label_set(found["kept"]),
        cleaned=_label_set(found["cleaned"]),
        excluded=_label_set(found["excluded"]),
        gain_cleaned=Estimate(**found["gain_cleaned"]),
        gain_excluded=Estimate(**found["gain_excluded"]),
        n_models=found["n_models"],
        seconds=found["seconds"],
    )


def _label_set(found: dict[str, Any]) -> LabelSet:
    lists = {name: tuple(found[name]) for name in ("by_seed", "n_right", "margins", "answers")}
    return LabelSet(accuracy=Estimate(**found["accuracy"]), **lists)
