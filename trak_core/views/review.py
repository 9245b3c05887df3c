"""The review of labels: suspects by a signal, the queue that they make up, how far its review is, and its end."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trak_core.store.progress import read_status
from trak_core.store.reviews import ReviewLog, Verdict
from trak_core.store.run import Run
from trak_core.subjects import OWN_SUBJECT
from trak_core.subjects.subject import ONE_FUNCTION
from trak_core.views.answer_words import has_answer

RECENT = 50
"""Verdicts that the precision of late is taken over."""
FEW_ERRORS = 2
"""Errors among the last 50 that still say: stop."""
SURE = 0.95
MOST_NAMES = 5
_TITLES = {
    "combined": "Combined",
    "out_of_fold": "Out-of-fold confidence",
    "second_look": "Round 2",
    "neighbours": "Neighbours' labels",
    "training_margin": "Margin over training",
    "disagreement": "Ensemble disagreement",
    "confidence": "Low confidence",
    "self_influence": "Self-influence",
    "tracin_self_influence": "Self-influence, TracIn",
    "own_class_opponents": "Hurts its own class",
}
_KEYS = "1234567890"
Show = Literal["to review", "to review by me", "unsure", "disputed", "all"]


def data_fingerprint(run: Run) -> str:
    """What verdicts on the labels of this run are recorded for; it changes with the data."""
    made = run.info.provenance
    return str(made.get("data_fingerprint") or made["fingerprint"])


def standing_log(run: Run, log: ReviewLog) -> ReviewLog:
    """The log without verdicts on examples or classes that the run does not have; it counts what it ignores.

    Where the last word of a reviewer on an example is ignored, so are their earlier ones: they were taken back by it.
    Nothing is taken out of the file, and doing this twice changes nothing.
    """

    def fits(verdict: Verdict) -> bool:
        is_class = verdict.new_label is None or 0 <= verdict.new_label < len(run.info.class_names)
        return is_class and 0 <= verdict.train_idx < run.info.n_train

    if all(map(fits, log.verdicts)):
        return log
    unfit = {key for key, verdict in log.by_reviewer.items() if not fits(verdict)}
    return replace(
        log,
        verdicts=tuple(v for v in log.verdicts if fits(v) and (v.train_idx, v.reviewer) not in unfit),
        n_not_in_run=log.n_not_in_run + sum(not fits(v) and not v.is_undone for v in log.verdicts),
    )


def only_given_label(run: Run) -> str | None:
    """The name of the class that all train examples are labelled as; None where there are several."""
    given = np.unique(run.train_labels)
    return run.info.class_names[given[0]] if len(given) == 1 else None


def why_no_suspects(run: Run) -> str:
    """Why a run has no suspects, and what to do about it, in a sentence or two that begin with "its" or "it"."""
    n_given = len(np.unique(run.train_labels)) if run.info.has_classes else 0
    if not run.info.has_classes:
        have = "numbers as targets" if has_answer(run) else "no labels"
        return f"its examples have {have}, and there is no class that could be the right one."
    if n_given == 1:
        return (
            f"its {run.info.n_train:,} train examples are all labelled {only_given_label(run)!r}, and there is nothing "
            "to compare labels with. Add train examples of another class, then build the run again."
        )
    if n_given == run.info.n_train:
        return "its train examples have a class each, and there is nothing else to judge any of them by."
    if command_to_go_on(run) is not None:
        return "its build was stopped before it looked for wrong labels; go on with it."
    why = f"it was {run.info.origin}; suspects are found while a run is built."
    if run.info.recipe == OWN_SUBJECT:
        why = f"its subject trains no models to judge labels by. {ONE_FUNCTION}."
    advice = "opponents that carry the label of the test example they speak against are the first place to look."
    return f"{why} Until then, {advice}"


def command_to_go_on(run: Run) -> str | None:
    """The command line that goes on with the build of a run; None where it is finished or was no build."""
    status = read_status(run.path)
    if run.info.provenance.get("complete") or status is None or not status.command:
        return None
    return shlex.join(["python", "-m", "trak_core", *status.command])


def suspect_signals(run: Run) -> dict[str, str]:
    """The signals that the run has, with their names for people; the one to begin with first, empty where none is.

    Signals that are not known here come last, under their own names.
    """
    rows = run.rows("SELECT DISTINCT signal FROM suspects WHERE split = 'train' ORDER BY signal")
    found = [str(name) for (name,) in rows]
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
    """Train examples by one signal, the most suspicious first."""

    signal: str  # its name
    train_idx: NDArray[np.int64]  # int64 `[n]`
    score: NDArray[np.float64]  # float64 `[n]`, higher for a more suspicious label
    suggested: NDArray[np.int64]  # int64 `[n]`, another label for each
    n_train: int  # number of train examples of the run
    # in the other label, float64 `[n]`, 0 to 1 and NaN where it is not known; None where it never is
    confidence: NDArray[np.float64] | None = None
    # True for labels that are likely wrong, bool `[n]`; None where nobody has judged that
    likely: NDArray[np.bool_] | None = None

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

    def suggested_confidence(self, train_idx: int) -> float | None:
        """How sure the other label is, 0 to 1; None where that is not known."""
        place = self.place[train_idx]
        if self.confidence is None or place == len(self.confidence) or np.isnan(self.confidence[place]):
            return None
        return float(self.confidence[place])

    def is_likely(self, train_idx: int) -> bool:
        """True where the label is likely wrong."""
        place = self.place[train_idx]
        return self.likely is not None and place < len(self.likely) and bool(self.likely[place])

    @property
    def n_likely(self) -> int | None:
        """How many labels are likely wrong; None where nobody has judged that."""
        return None if self.likely is None else int(self.likely.sum())


def read_suspects(run: Run, signal: str) -> Suspects:
    """All suspects by a signal that the run has; 33 bytes each, so keep it.

    Which labels are likely wrong is the same whatever signal they are walked through by.
    """
    found = run.columns(
        "SELECT train_idx, score, suggested_label, suggested_confidence, train_idx IN "
        "(SELECT train_idx FROM suspects WHERE is_likely AND split = 'train') AS likely FROM suspects "
        "WHERE signal = ? AND split = 'train' ORDER BY rank",
        [signal],
    )
    is_judged = bool(run.rows("SELECT 1 FROM suspects WHERE is_likely IS NOT NULL AND split = 'train' LIMIT 1"))
    return Suspects(
        signal,
        found["train_idx"].astype(np.int64),
        found["score"].astype(np.float64),
        found["suggested_label"].astype(np.int64),
        run.info.n_train,
        np.ma.filled(found["suggested_confidence"].astype(np.float64), np.nan),
        found["likely"].astype(bool) if is_judged else None,
    )


@dataclass(frozen=True)
class SuspectFilter:
    """Which suspects make up the queue."""

    classes: tuple[int, ...] = ()  # given labels to keep, all when empty
    length: int | None = 200  # the first so many of those; None for all
    # which of these to walk through: "to review" by anybody, "to review by me", those that somebody is "unsure" of,
    # those "disputed" between reviewers, or "all"
    show: Show = "to review"
    reviewer: str = ""  # who "me" is
    only_likely: bool = False  # True to keep labels that are likely wrong
    among: frozenset[int] | None = None  # train examples to keep, as those with a finding of some kind; None for all


@dataclass(frozen=True)
class SuspectQueue:
    """The suspects to walk through, and how far their review is."""

    shown: list[int]  # numbers of the train examples to walk through, the most suspicious first
    n: int  # suspects in the queue, shown or not
    n_reviewed: int  # of them, those with a verdict of anybody
    n_decided: int  # of them, those whose last verdict is not "unsure"
    n_errors: int  # of them, those whose last verdict finds the label wrong
    n_recent: int  # the last decided ones, at most 50
    n_recent_errors: int  # of them, those found wrong
    place: NDArray[np.int64]  # of every train example in the ranking `[n_train]`

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
    """The queue that a filter asks for, and its progress; `labels` are those given to the train examples."""
    ranked = suspects.train_idx
    if wanted.classes:
        ranked = ranked[np.isin(labels[ranked], wanted.classes)]
    if wanted.only_likely:
        ranked = ranked[np.isin(ranked, [] if suspects.likely is None else suspects.train_idx[suspects.likely])]
    if wanted.among is not None:
        ranked = ranked[np.isin(ranked, list(wanted.among))]
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
class StopAdvice:
    """What the last verdicts say of going on."""

    n: int  # verdicts that it rests on
    n_errors: int  # of them, those that found the label wrong
    upper: float  # share of errors among such labels that is exceeded with a chance of 5% at most
    may_stop: bool  # True when reviewing on finds few

    @property
    def in_words(self) -> str:
        """The advice as a sentence or two."""
        held = f"The last {self.n} held {self.n_errors} error{'' if self.n_errors == 1 else 's'}"
        if not self.may_stop:
            return f"{held}: go on."
        return f"{held} (at most {self.upper:.0%} of such labels, 95% sure). Reviewing on finds few: you can stop here."


def stop_advice(queue: SuspectQueue) -> StopAdvice | None:
    """Whether the review of a queue may stop; None before 50 of its labels are decided.

    It may when at most 2 of the last 50 decided were errors: suspects come in the order of suspicion, so what follows
    hardly holds more. The bound is the exact upper end of a one-sided 95% interval of a binomial share, 12% for 2 of
    50. Source: Clopper & Pearson 1934.
    """
    if queue.n_recent < RECENT:
        return None
    from scipy.special import betaincinv  # takes a moment to import, and few pages need it

    n, k = queue.n_recent, queue.n_recent_errors
    upper = 1.0 if k == n else float(betaincinv(k + 1, n - k, SURE))
    return StopAdvice(n, k, upper, k <= FEW_ERRORS)


def reviewers_in_words(log: ReviewLog) -> str | None:
    """How many examples each reviewer has judged, and on how many they differ; None for fewer than two reviewers."""
    counts = Counter(reviewer for _, reviewer in log.by_reviewer)
    if len(counts) < 2:
        return None
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{name} {n:,}" for name, n in most[:MOST_NAMES])
    if len(most) > MOST_NAMES:
        words += f" and {len(most) - MOST_NAMES:,} more"
    return f"{words}; they differ on {len(log.disputed):,}"
