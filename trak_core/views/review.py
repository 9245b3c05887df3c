"""The review of labels: the queue of suspects, how far it is, and what speaks for and against one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trak_core.store.reviews import ReviewLog
from trak_core.store.run import Run
from trak_core.views.examples import Example, read_examples
from trak_core.views.neighbours import FeatureSpace

__all__ = [
    "Show",
    "SuspectEvidence",
    "SuspectFilter",
    "SuspectQueue",
    "Suspects",
    "Witness",
    "class_keys",
    "data_fingerprint",
    "find_suspects",
    "read_suspects",
    "suspect_evidence",
    "suspect_signals",
]

RECENT = 50
"""Verdicts that the precision of late is taken over."""
_TITLES = {
    "combined": "Combined",
    "confidence": "Low confidence",
    "self_influence": "Self-influence",
    "own_class_opponents": "Hurts its own class",
}
_KEYS = "1234567890"
Show = Literal["to review", "to review by me", "unsure", "disputed", "all"]


def data_fingerprint(run: Run) -> str:
    """What verdicts on the labels of this run are recorded for; it changes with the data."""
    facts = run.info.provenance
    return str(facts.get("data_fingerprint") or facts["fingerprint"])


def suspect_signals(run: Run) -> dict[str, str]:
    """The signals that the run has, with their names for people; the one to begin with first, empty where none is.

    Signals that are not known here come last, under their own names.
    """
    found = [str(name) for (name,) in run.rows("SELECT DISTINCT signal FROM suspects ORDER BY signal")]
    ordered = [name for name in _TITLES if name in found] + [name for name in found if name not in _TITLES]
    return {name: _TITLES.get(name, name.replace("_", " ").capitalize()) for name in ordered}


def class_keys(class_names: Sequence[str]) -> list[str | None]:
    """The key that stands for each class: digits 1 to 9 and 0 in order, None beyond ten classes.

    Classes that are called by digits have their own names for keys.
    """
    if set(class_names) <= set(_KEYS):
        return list(class_names)
    return [_KEYS[label] if label < len(_KEYS) else None for label in range(len(class_names))]


@dataclass(frozen=True)
class Suspects:
    """Train examples by one signal, the most suspicious first.

    Attributes:
        signal: its name.
        train_idx: int64 `[n]`.
        score: float64 `[n]`, higher for a more suspicious label.
        suggested: int64 `[n]`, another label for each.
        n_train: number of train examples of the run.
    """

    signal: str
    train_idx: NDArray[np.int64]
    score: NDArray[np.float64]
    suggested: NDArray[np.int64]
    n_train: int

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """Place in the ranking by train_idx, from 0: int64 `[n_train]`; `n` for those that are not in it."""
        places = np.full(self.n_train, len(self.train_idx))
        places[self.train_idx] = np.arange(len(self.train_idx))
        return places

    def suggested_label(self, train_idx: int) -> int | None:
        """The other label for a train example, None where it is not in the ranking."""
        place = self.place[train_idx]
        return int(self.suggested[place]) if place < len(self.suggested) else None


def read_suspects(run: Run, signal: str) -> Suspects:
    """All suspects by a signal that the run has; 24 bytes each, so keep it."""
    found = run.columns(
        "SELECT train_idx, score, suggested_label FROM suspects WHERE signal = ? ORDER BY rank", [signal]
    )
    return Suspects(
        signal,
        found["train_idx"].astype(np.int64),
        found["score"].astype(np.float64),
        found["suggested_label"].astype(np.int64),
        run.info.n_train,
    )


@dataclass(frozen=True)
class SuspectFilter:
    """Which suspects make up the queue.

    Attributes:
        classes: given labels to keep, all when empty.
        length: the first so many of those; None for all.
        show: which of these to walk through: "to review" by anybody, "to review by me", those that somebody is
            "unsure" of, those "disputed" between reviewers, or "all".
        reviewer: who "me" is.
    """

    classes: tuple[int, ...] = ()
    length: int | None = 200
    show: Show = "to review"
    reviewer: str = ""


@dataclass(frozen=True)
class SuspectQueue:
    """The suspects to walk through, and how far their review is.

    Attributes:
        shown: numbers of the train examples to walk through, the most suspicious first.
        n: suspects in the queue, shown or not.
        n_reviewed: of them, those with a verdict of anybody.
        n_decided: of them, those whose last verdict is not "unsure".
        n_errors: of them, those whose last verdict finds the label wrong.
        n_recent: the last decided ones, at most 50.
        n_recent_errors: of them, those found wrong.
        place: of every train example in the ranking `[n_train]`.
    """

    shown: list[int]
    n: int
    n_reviewed: int
    n_decided: int
    n_errors: int
    n_recent: int
    n_recent_errors: int
    place: NDArray[np.int64]

    @property
    def precision(self) -> float | None:
        """Share of the decided that were errors; None when nothing is decided."""
        return self.n_errors / self.n_decided if self.n_decided else None

    @property
    def progress(self) -> float:
        """Share of the queue that has been reviewed, 0 to 1."""
        return self.n_reviewed / self.n if self.n else 1.0

    def after(self, train_idx: int | None) -> int | None:
        """The next one to walk to: the first that comes later, else the first of all; None when there is none."""
        later = self._beyond(train_idx, 1)
        return later if later is not None else next(iter(self.shown), None)

    def step(self, train_idx: int, direction: Literal[1, -1]) -> int | None:
        """The one beside it in the queue, on the way down (1) or up (-1); None at an end."""
        return self._beyond(train_idx, direction)

    def _beyond(self, train_idx: int | None, direction: Literal[1, -1]) -> int | None:
        here = -1 if train_idx is None else self.place[train_idx]
        way = self.shown if direction == 1 else self.shown[::-1]
        return next((idx for idx in way if (self.place[idx] - here) * direction > 0), None)


def find_suspects(suspects: Suspects, labels: NDArray[np.int64], log: ReviewLog, wanted: SuspectFilter) -> SuspectQueue:
    """The queue that a filter asks for, and its progress.

    Args:
        suspects: by one signal.
        labels: given to the train examples `[n_train]`.
        log: of the review.
        wanted: the filter.
    """
    ranked = suspects.train_idx
    if wanted.classes:
        ranked = ranked[np.isin(labels[ranked], wanted.classes)]
    members = [int(idx) for idx in ranked[: wanted.length]]
    inside = set(members)
    last = [verdict for idx, verdict in log.latest.items() if idx in inside]
    decided = [verdict for verdict in last if verdict.verdict != "unsure"]
    recent = decided[-RECENT:]
    return SuspectQueue(
        shown=[idx for idx in members if _is_shown(idx, log, wanted)],
        n=len(members),
        n_reviewed=len(last),
        n_decided=len(decided),
        n_errors=sum(verdict.is_error for verdict in decided),
        n_recent=len(recent),
        n_recent_errors=sum(verdict.is_error for verdict in recent),
        place=suspects.place,
    )


def _is_shown(train_idx: int, log: ReviewLog, wanted: SuspectFilter) -> bool:
    if wanted.show == "to review":
        return train_idx not in log.latest
    if wanted.show == "to review by me":
        return (train_idx, wanted.reviewer) not in log.by_reviewer
    if wanted.show == "unsure":
        return train_idx in log.latest and log.latest[train_idx].verdict == "unsure"
    return wanted.show == "all" or train_idx in log.disputed


@dataclass(frozen=True)
class Witness:
    """An example that says something about a suspect.

    Attributes:
        example: a test example that it moves, or a train example that looks like it.
        value: the score of the suspect for the test example, or how much alike the train example is, 0 to 1.
    """

    example: Example
    value: float


@dataclass(frozen=True)
class SuspectEvidence:
    """What speaks for and against the label of one train example.

    Attributes:
        example: the suspect.
        suggested_label: the other label, None where the ranking has none.
        suggested_name: its name.
        p_label: probability of the given label, averaged over checkpoints; None where it is not known.
        p_suggested: of the suggested label, likewise.
        hurts: test examples whose label it lowers most, of those that have it among their strongest opponents.
        helps: test examples whose label it raises most, likewise.
        like_given: train examples of the given label that the model learns from most alike.
        like_suggested: those of the suggested label, likewise.
        names: of all classes.
    """

    example: Example
    suggested_label: int | None
    suggested_name: str | None
    p_label: float | None
    p_suggested: float | None
    hurts: list[Witness]
    helps: list[Witness]
    like_given: list[Witness]
    like_suggested: list[Witness]
    names: tuple[str, ...]

    @property
    def models_disagree(self) -> bool:
        """True when the models, trained on the given label, still find the suggested one more probable."""
        return self.p_label is not None and self.p_suggested is not None and self.p_suggested > self.p_label


def suspect_evidence(
    run: Run, space: FeatureSpace, train_idx: int, suggested_label: int | None, k: int | None = None
) -> SuspectEvidence:
    """What speaks for and against the label of one train example.

    Args:
        run: with scores.
        space: directions of the run's features.
        train_idx: of the train example.
        suggested_label: another label for it, None where there is none.
        k: length of each list; by default what fits on a page, 6 images or 4 texts.

    Raises:
        NotInRunError: there is no such train example.
    """
    example = read_examples(run, "train", [run.check_train(train_idx)])[0]
    k = k or (6 if run.info.modality == "image" else 4)
    p_label, p_suggested = _probabilities(run, example, suggested_label)
    # A label turns the gradient of an example around, away from those of the class that it really belongs to. So the
    # ones that are most alike under another label point the opposite way, and it is the size of the cosine that counts.
    alike = np.abs(space.train @ space.train[train_idx])
    alike[train_idx] = -1
    return SuspectEvidence(
        example=example,
        suggested_label=suggested_label,
        suggested_name=None if suggested_label is None else run.info.class_names[suggested_label],
        p_label=p_label,
        p_suggested=p_suggested,
        hurts=_moved(run, train_idx, "opponent", k),
        helps=_moved(run, train_idx, "proponent", k),
        like_given=_alike(run, alike, example.label, k),
        like_suggested=[] if suggested_label is None else _alike(run, alike, suggested_label, k),
        names=run.info.class_names,
    )


def _probabilities(run: Run, example: Example, suggested: int | None) -> tuple[float | None, float | None]:
    rows = run.rows(
        "SELECT avg(p_label), avg(probabilities[?]) FROM predictions WHERE split = 'train' AND idx = ?",
        [None if suggested is None else suggested + 1, example.idx],
    )
    return rows[0] if rows else (None, None)


def _moved(run: Run, train_idx: int, side: str, k: int) -> list[Witness]:
    """Test examples that have it in a top list, the most moved first; only scores of that side's sign count."""
    rows = run.rows(
        "SELECT test_idx, score FROM topk WHERE method = ? AND train_idx = ? AND side = ? AND (score < 0) = ? "
        "ORDER BY abs(score) DESC, test_idx LIMIT ?",
        [run.info.method, train_idx, side, side == "opponent", k],
    )
    return _witnesses(run, "test", [idx for idx, _ in rows], [score for _, score in rows])


def _alike(run: Run, alike: NDArray[np.float32], label: int, k: int) -> list[Witness]:
    members = np.flatnonzero((run.train_labels == label) & (alike >= 0))
    nearest = members[np.argsort(-alike[members], kind="stable")[:k]]
    return _witnesses(run, "train", nearest.tolist(), np.minimum(alike[nearest], 1).tolist())


def _witnesses(run: Run, split: str, idxs: Sequence[int], values: Sequence[float]) -> list[Witness]:
    return [Witness(example, value) for example, value in zip(read_examples(run, split, idxs), values, strict=True)]
