"""Suspects, and how well they are found, as plain text for the command line."""

from trak_core.labels.quality import Quality
from trak_core.store.run import Run
from trak_core.views.label_quality import FirstSuspects, planted_in_words, planted_quality
from trak_core.views.review import suspect_signals

WIDTH = 24
"""Letters of the name of a class."""
NOTHING_TO_COMPARE = (
    "No labels of this run were made wrong on purpose, so nothing tells which ranking finds errors better. To compare "
    "with cleanlab, build a run with --flip-labels."
)


def suspects_text(run: Run, found: FirstSuspects, with_cleanlab: bool = False) -> str:
    """A table of the first suspects; where errors were planted, also how well every signal finds them, and cleanlab."""
    shown = f"the first {len(found.suspects):,} of {found.n:,}"
    likely = "" if found.n_likely is None else f"; {found.n_likely:,} labels are called likely wrong"
    lines = [
        f"Run {run.info.name}, by {found.title} ({found.signal}): {shown}{likely}.",
        "",
        f"{'rank':>6} {'train_idx':>9}  {'label':{WIDTH}} {'suggested':{WIDTH}} "
        f"{'confidence':>10} {'score':>10}  likely",
    ]
    for suspect in found.suspects:
        confidence = "" if suspect.suggested_confidence is None else f"{suspect.suggested_confidence:.0%}"
        lines.append(
            f"{suspect.rank:>6} {suspect.train_idx:>9}  {_name(run, suspect.label):{WIDTH}} "
            f"{_name(run, suspect.suggested_label):{WIDTH}} {confidence:>10} {suspect.score:>10.4g}  "
            f"{'yes' if suspect.is_likely else ''}".rstrip()
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
    head = f"{'signal':{width}} {'AUROC':>7} {'precision':>9}   found in first 10%    15%    20%   95% found in first"
    return [
        head,
        *(
            f"{title:{width}} {of.auroc:7.3f} {of.average_precision:9.3f}   {of.recall_at_10:18.1%} "
            f"{of.recall_at_15:6.1%} {of.recall_at_20:6.1%}   {of.inspected_for_95:18.1%}"
            for title, of in named.items()
        ),
    ]


def _name(run: Run, label: int) -> str:
    """The name of a class on one line of a terminal."""
    name = run.info.class_names[label]
    return "".join(letter if letter.isprintable() else " " for letter in name)[:WIDTH]
