"""The first suspects of a run, and how well its signals find the labels that were made wrong on purpose.

For measuring alone: nothing here tells which labels these are, and the review of labels does not look at it.
"""

from dataclasses import dataclass

import numpy as np

from trak_core.errors import NotInRunError
from trak_core.labels.quality import Quality, cleanlab_signals, quality
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.run import Run
from trak_core.views.review import command_to_go_on, suspect_signals, why_no_suspects

NAME_WIDTH = 24
"""Letters of the name of a class."""
NOTHING_TO_COMPARE = (
    "No labels of this run were made wrong on purpose, so nothing tells which ranking finds errors better. To compare "
    "with cleanlab, build a run with --flip-labels."
)


@dataclass(frozen=True)
class Suspect:
    """A train example whose label looks wrong."""

    rank: int  # from 1, the most suspicious
    train_idx: int  # its number
    label: int  # given
    suggested_label: int  # another one
    # how probable models that did not see it find that, 0 to 1; None where not measured
    suggested_confidence: float | None
    score: float  # higher for a more suspicious label
    is_likely: bool | None  # True where the label is called likely wrong; None where nothing was called
    origin: str | None  # the file or row that it came from; None where the run does not know it


@dataclass(frozen=True)
class FirstSuspects:
    """The first suspects by one signal."""

    signal: str  # its name
    title: str  # its name for people
    suspects: tuple[Suspect, ...]  # the most suspicious first
    n: int  # train examples that the signal ranks
    n_likely: int | None  # of them, those whose label is called likely wrong; None where nothing was called


def first_suspects(run: Run, signal: str | None, n: int) -> FirstSuspects:
    """The first `n` suspects by a signal; None stands for the signal that the review begins with.

    Raises:
        NotInRunError: the run has no such signal, or none at all.
    """
    titles = suspect_signals(run)
    if not titles:
        command = command_to_go_on(run)
        raise NotInRunError(
            f"run {run.info.name!r} has no suspects: {why_no_suspects(run)}" + (f" {command}" if command else "")
        )
    signal = signal or next(iter(titles))
    if signal not in titles:
        raise NotInRunError(f"run {run.info.name!r} has no signal {signal!r}; it has: {', '.join(titles)}.")
    rows = run.rows(
        "SELECT rank, train_idx, label, suggested_label, suggested_confidence, score, is_likely, origin "
        "FROM suspects s JOIN examples e ON e.split = s.split AND e.idx = train_idx "
        "WHERE s.split = 'train' AND signal = ? AND rank <= ? ORDER BY rank",
        [signal, n],
    )
    found = tuple(Suspect(*row) for row in rows)
    n_ranked, n_called, n_likely = run.rows(
        "SELECT count(*), count(is_likely), count(*) FILTER (is_likely) FROM suspects "
        "WHERE split = 'train' AND signal = ?",
        [signal],
    )[0]
    return FirstSuspects(signal, titles[signal], found, n_ranked, n_likely if n_called else None)


def planted_quality(run: Run, with_cleanlab: bool = False) -> dict[str, Quality] | None:
    """How well each signal of the run finds the planted errors; None where nothing was planted.

    Train examples that a signal does not rank count as the least suspicious. Cleanlab's rankings, where they are asked
    for, come last; they are made from the out-of-fold probabilities of the run.

    Raises:
        NeedNotMetError: cleanlab is not installed.
    """
    planted = [train_idx for (train_idx,) in run.rows("SELECT train_idx FROM planted_errors ORDER BY train_idx")]
    if not planted:
        return None
    wrong = np.zeros(run.info.n_train, dtype=bool)
    wrong[planted] = True
    found = {}
    for signal in suspect_signals(run):
        ranked = run.columns("SELECT train_idx, score FROM suspects WHERE split = 'train' AND signal = ?", [signal])
        scores = np.full(run.info.n_train, -np.inf)
        scores[ranked["train_idx"]] = ranked["score"]
        found[signal] = quality(scores, wrong)
    if with_cleanlab:
        out_of_fold = run.arrow("SELECT probabilities FROM out_of_fold ORDER BY train_idx")
        theirs = cleanlab_signals(run.train_labels, from_arrow_arrays(out_of_fold, "probabilities"))
        found |= {signal: quality(scores, wrong) for signal, scores in theirs.items()}
    return found


def planted_in_words(run: Run) -> str | None:
    """A sentence on how many labels were made wrong on purpose, and how; None where that was not asked for."""
    made = run.info.provenance
    if not made.get("flip_labels"):
        return None
    n_wrong = run.rows("SELECT count(*) FROM planted_errors")[0][0]
    was = "label was" if n_wrong == 1 else "labels were"
    return (
        f"{n_wrong:,} of {run.info.n_train:,} training {was} made wrong on purpose ({made['flip_kind']}, "
        f"--flip-labels {made['flip_labels']})."
    )


def suspects_text(run: Run, found: FirstSuspects, with_cleanlab: bool = False) -> str:
    """A table of the first suspects; where errors were planted, also how well every signal finds them, and cleanlab."""
    shown = f"the first {len(found.suspects):,} of {found.n:,}"
    likely = "" if found.n_likely is None else f"; {found.n_likely:,} labels are called likely wrong"
    lines = [
        f"Run {run.info.name}, by {found.title} ({found.signal}): {shown}{likely}.",
        "",
        f"{'rank':>6} {'train_idx':>9}  {'label':{NAME_WIDTH}} {'suggested':{NAME_WIDTH}} "
        f"{'confidence':>10} {'score':>10}  likely{'  from' if any(one.origin for one in found.suspects) else ''}",
    ]
    for suspect in found.suspects:
        confidence = "" if suspect.suggested_confidence is None else f"{suspect.suggested_confidence:.0%}"
        lines.append(
            f"{suspect.rank:>6} {suspect.train_idx:>9}  {_name(run, suspect.label):{NAME_WIDTH}} "
            f"{_name(run, suspect.suggested_label):{NAME_WIDTH}} {confidence:>10} {suspect.score:>10.4g}  "
            f"{'yes' if suspect.is_likely else '':6}  {in_one_line(suspect.origin or '')}".rstrip()
        )
    planted = planted_in_words(run)
    if planted is not None:
        lines += ["", planted]
    by_signal = planted_quality(run, with_cleanlab)
    if by_signal is not None:
        lines += ["How well each signal finds them:", "", *_quality_lines(by_signal, suspect_signals(run))]
    elif with_cleanlab:
        lines += ["", NOTHING_TO_COMPARE]
    return "\n".join(lines) + "\n"


def _quality_lines(by_signal: dict[str, Quality], titles: dict[str, str]) -> list[str]:
    named = {titles.get(signal, signal.replace("_", " ")): of for signal, of in by_signal.items()}
    width = max(map(len, named))
    return [
        f"{'signal':{width}} {'AUROC':>7} {'precision':>9}   found in first 10%    15%    20%   95% found in first",
        *(
            f"{title:{width}} {of.auroc:7.3f} {of.average_precision:9.3f}   {of.recall_at_10:18.1%} "
            f"{of.recall_at_15:6.1%} {of.recall_at_20:6.1%}   {of.inspected_for_95:18.1%}"
            for title, of in named.items()
        ),
    ]


def in_one_line(name: str) -> str:
    """A name from the data without what would move the cursor of a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in name)


def _name(run: Run, label: int) -> str:
    return in_one_line(run.info.class_names[label])[:NAME_WIDTH]
