"""What else is odd about train examples, besides labels that look wrong: near-duplicates, leaks and the like."""

from dataclasses import dataclass
from typing import Any

from trak_core.store.run import Run
from trak_core.views.examples import Example, read_examples

_WORDS = {
    "near_duplicate": ("near-duplicates", "near-duplicate"),
    "leak": ("leaks", "leak"),
    "outlier": ("outliers", "outlier"),
    "ambiguous": ("ambiguous", "ambiguous"),
    "under_represented": ("under-represented", "under-represented"),
}
"""For each kind, in the order in which they are offered: what all of them are called, and one."""
_HELP = {
    "near_duplicate": "Another training example is the same, or nearly: far closer than examples usually are.",
    "leak": "A test example is the same, or nearly: testing on it measures memory.",
    "outlier": "What the models see of it is unlike every other training example.",
    "ambiguous": "Models that did not see it waver between its label and another one; the label may well be right.",
    "under_represented": "Its class, or its group within the class, has far fewer examples than others.",
}


@dataclass(frozen=True)
class ExampleFinding:
    """One thing that is odd about a train example."""

    kind: str  # as the table `findings` calls it
    name: str  # what it is called
    help: str  # what that means
    other: Example | None = None  # the other example of a pair, None for what is no pair
    differs: bool = False  # True where the other example has another label

    @property
    def words(self) -> str:
        """What it is, with the other example of a pair."""
        if self.other is None:
            return self.name
        return f"{self.name} of {self.other.split} example {self.other.idx}, labelled “{self.other.label_name}”"


def found_counts(run: Run) -> dict[str, tuple[str, int]]:
    """The kinds of findings that the run has: what they are called, and the number of train examples.

    Kinds that are not known here come last, under their own names.
    """
    rows = run.rows("SELECT kind, count(DISTINCT train_idx) FROM findings GROUP BY kind ORDER BY kind")
    return {kind: (_words(kind)[0], n) for kind, n in sorted(rows, key=_place)}


def found_examples(run: Run, kind: str) -> frozenset[int]:
    """Train examples with a finding of a kind."""
    return frozenset(idx for (idx,) in run.rows("SELECT DISTINCT train_idx FROM findings WHERE kind = ?", [kind]))


def findings_of(run: Run, train_idx: int) -> list[ExampleFinding]:
    """Everything else that is odd about a train example, in the order of the kinds; `train_idx` must be valid."""
    rows = run.rows(
        "SELECT kind, other_split, other_idx FROM findings WHERE train_idx = ? ORDER BY kind, rank", [train_idx]
    )
    label = run.label("train", train_idx)
    return [_example_finding(run, label, *row) for row in sorted(rows, key=_place)]


def _example_finding(run: Run, label: int, kind: str, split: str | None, idx: int | None) -> ExampleFinding:
    name, help_text = _words(kind)[1], _HELP.get(kind, "")
    if split is None or idx is None:
        return ExampleFinding(kind, name, help_text)
    other = read_examples(run, split, [idx])[0]
    return ExampleFinding(kind, name, help_text, other, other.label != label)


def _words(kind: str) -> tuple[str, str]:
    name = kind.replace("_", " ")
    return _WORDS.get(kind, (name, name))


def _place(row: tuple[Any, ...]) -> int:
    """Of a row that begins with its kind, in the order in which kinds are offered."""
    return list(_WORDS).index(row[0]) if row[0] in _WORDS else len(_WORDS)
