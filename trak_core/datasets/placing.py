"""From rows with labels to numbered classes and two splits, the same for texts and images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.class_labels import MAX_CLASSES, name_classes
from trak_core.datasets.label_notes import about_names, about_spellings
from trak_core.datasets.missing import USUAL_MISSING, about_missing, is_missing
from trak_core.datasets.rows import Example, counted, most_common_reason
from trak_core.datasets.sources import legible
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError, LabelError
from trak_core.modalities.raw import RawData, RawSplit, Skipped
from trak_core.seeds import derive_seed

SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("validation", "valid", "val", "dev", "development", "eval", "evaluation"),
}
"""What splits are called."""
NAMED = 5
"""Classes that a note lists."""
ABOUT = 0.05
"""How far the shares of classes may be from the share that is told of all of them."""
MAX_CHARACTERS = 1_000_000
"""Of a text."""


@dataclass(frozen=True)
class DataSource:
    """Where examples come from, and how test examples are held out where the source has none.

    Raises:
        InvalidDataError: two classes have the same name.
        InvalidSettingError: `test_share` is not between 0 and 1.
    """

    name: str  # of the data set
    where: str  # the folder or file, for messages
    test_share: float = 0.2  # of each class, held out where there is no test split
    seed: int = 0  # of that draw
    # where the source names the classes; labels are numbers from 0 then, and -1 stands for a missing one
    class_names: Sequence[str] | None = None
    missing: frozenset[str] = USUAL_MISSING  # words that stand for a missing label or text

    def __post_init__(self) -> None:
        if not 0 < self.test_share < 1:
            raise InvalidSettingError(
                f"the share of test examples is {self.test_share}; give a number between 0 and 1, such as 0.2."
            )
        if self.class_names is not None and len(set(self.class_names)) < len(self.class_names):
            raise InvalidDataError(f"{self.where} gives two classes the same name; give each class a name of its own.")


def place(items: Sequence[Example | Skipped], source: DataSource, modality: str, notes: Sequence[str] = ()) -> RawData:
    """The examples with numbered labels, in a train and a test split; contents are lists of theirs.

    Without a test split that has labels, a validation split serves as one; without either, some train examples are
    held out. Examples without a label, a known split or a class to learn join those that were left out before.

    Raises:
        EmptyDataError: no example, or none of the train split, has a label.
        InvalidDataError: there is one class only.
        LabelError: the labels name no classes, or too many.
    """
    examples = [item for item in items if isinstance(item, Example)]
    names, numbers = _number(examples, source)
    why: dict[int, str] = {}
    rows: dict[str, list[int]] = {"train": [], "test": [], "validation": []}
    unlabelled: dict[str, list[int]] = {kind: [] for kind in rows}
    for row, example in enumerate(examples):
        if (kind := split_kind(example.split)) is not None:
            (rows if numbers[row] >= 0 else unlabelled)[kind].append(row)
        elif not example.split or not example.split.strip():
            why[row] = "it is in no split"
        else:
            why[row] = f"its split {example.split[:40]!r} is none of train, test and validation"

    test_kind = "validation" if rows["validation"] and not rows["test"] else "test"
    notes = [*notes, *about_missing("label", [example.label for example in examples], source.missing)]
    if source.class_names is None:
        notes += about_spellings([example.label for example in examples], numbers.tolist())
    notes += _about_splits(rows, unlabelled)
    for row in unlabelled["train"] + (unlabelled[test_kind] if rows[test_kind] else []):
        why[row] = _why_no_class(examples[row].label, source)
    train, test = np.array(rows["train"], dtype=np.int64), np.array(rows[test_kind], dtype=np.int64)
    if not len(train):
        raise EmptyDataError(f"{source.where} has no example with a label to train on; give some.")
    if len(np.unique(numbers[train])) == 1:
        raise InvalidDataError(
            f"{source.where} has examples of one class only, {names[numbers[train[0]]]!r}"
            f"{most_common_reason(items, why.values())}; give two classes or more, so that there is something to tell "
            "apart."
        )
    if len(test):
        is_known = np.isin(numbers[test], numbers[train])
        why |= {row: f"no train example has the class {names[numbers[row]]!r}" for row in test[~is_known]}
        test = test[is_known]
        if not len(test):
            raise EmptyDataError(
                f"{source.where}: no test example is of a class that train examples have; check the labels."
            )
    else:
        kept, held_out = split_off(numbers[train], source.test_share, source.seed)
        train, test = train[kept], train[held_out]
        if not len(test):
            raise InvalidDataError(
                f"{source.where} has one example of each class, and two or more are needed; add some."
            )
        notes.append(_about_held_out(numbers[train], numbers[test], source.test_share))
        if untested := [names[number] for number in np.setdiff1d(numbers[train], numbers[test])]:
            n_more = len(untested) - NAMED
            more = f" and {n_more:,} more" if n_more > 0 else ""
            notes.append(f"Classes without a test example: {', '.join(map(repr, untested[:NAMED]))}{more}.")

    found, labels = np.unique(numbers[train], return_inverse=True)
    if len(found) > MAX_CLASSES:
        raise LabelError(
            f"{source.where} has {len(found):,} classes, and at most {MAX_CLASSES:,} are read; put some together."
        )
    notes += about_names([names[number] for number in found])
    if source.class_names is not None and len(found) < len(names):
        notes.append(f"{len(names) - len(found):,} of the {len(names):,} classes have no train example.")
    lost = {id(examples[row]): Skipped(examples[row].where, reason) for row, reason in why.items()}
    skipped = (item if isinstance(item, Skipped) else lost.get(id(item)) for item in items)
    return RawData(
        name=source.name,
        modality=modality,
        class_names=tuple(names[number] for number in found),
        train=_split(examples, train, labels),
        test=_split(examples, test, np.searchsorted(found, numbers[test])),
        skipped=tuple(one for one in skipped if one is not None),
        notes=tuple(notes),
    )


def _about_held_out(train: NDArray[np.int64], test: NDArray[np.int64], share: float) -> str:
    """How many test examples were held out, of the classes of train and test examples `[n]`."""
    classes, n_kept = np.unique(train, return_counts=True)
    n_test = (test[:, None] == classes).sum(0)
    if (np.abs(n_test / (n_test + n_kept) - share) <= ABOUT).all():
        return f"There is no test split; {100 * share:g}% of each class were held out as test examples."
    return (
        f"There is no test split; {100 * share:g}% of each class, but at least one of every class that has two or "
        f"more, were held out as test examples: {len(test):,} of {len(train) + len(test):,}."
    )


def _split(examples: Sequence[Example], rows: NDArray[np.int64], labels: NDArray[Any]) -> RawSplit:
    chosen = [examples[row] for row in rows]
    origins = [example.where if example.origin is None else example.origin for example in chosen]
    label_rows = [example.label_row for example in chosen]
    return RawSplit(
        [example.content for example in chosen],
        labels.astype(np.int64),
        list(map(legible, origins)),
        label_rows if any(label_rows) else None,
    )


def _number(examples: Sequence[Example], source: DataSource) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The names of the classes, and int64 `[n]`: the class of each example, -1 where it has none."""
    labels = [example.label for example in examples]
    if source.class_names is None:
        places = [example.where for example in examples]
        names, numbers = name_classes(labels, places, source.where, source.missing)
        return names, np.array([-1 if number is None else number for number in numbers], dtype=np.int64)
    n_classes = len(source.class_names)
    known = [label if isinstance(label, int) and 0 <= label < n_classes else -1 for label in labels]
    return tuple(source.class_names), np.array(known, dtype=np.int64)


def split_kind(split: str | None) -> str | None:
    """What a split is for: "train", "test" or "validation"; None if its name says nothing of the kind."""
    if split is None:
        return "train"
    name = split.strip().casefold()
    return next((kind for kind, names in SPLITS.items() if name in names), None)


def _why_no_class(label: Any, source: DataSource) -> str:
    if label is None or (source.class_names is not None and label == -1):
        return "it has no label"
    if source.class_names is not None:
        return f"its label {str(label)[:40]!r} is none of 0 to {len(source.class_names) - 1}"
    written = str(label).strip()
    return f"its label is {written!r}" if written and label == label else "it has no label"  # which NaN is not


def _about_splits(rows: dict[str, list[int]], unlabelled: dict[str, list[int]]) -> list[str]:
    notes = [
        f"The {kind} split ({counted(len(unlabelled[kind]), 'example')}) has no labels and is not used."
        for kind in ("test", "validation")
        if unlabelled[kind] and not rows[kind]
    ]
    if rows["validation"]:
        notes.append(
            f"The validation split ({counted(len(rows['validation']), 'example')}) is not used; there is a test split."
            if rows["test"]
            else "There is no test split with labels; the validation split serves as one."
        )
    return notes


def split_off(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to train on and the rows held out as test examples: two int64 arrays in ascending order.

    Each class with two or more examples gives at least one and keeps at least one; a single one stays in train. What
    is drawn from one class does not depend on the others.

    Args:
        labels: int64 `[n]`.
        share: of each class, between 0 and 1, that is held out.
        seed: of the draw.
    """
    is_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            n_test = min(max(round(share * len(rows)), 1), len(rows) - 1)
            shuffled = np.random.default_rng(derive_seed(seed, "test split", int(label))).permutation(rows)
            is_test[shuffled[:n_test]] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def texts_of(items: Sequence[Example | Skipped], source: DataSource, notes: Sequence[str]) -> RawData:
    """Examples of texts as data, see `place`; those without a text are left out too.

    Raises:
        EmptyDataError: no example has a text.
    """
    checked = [_without_text(item, source.missing) or item for item in items]
    texts = [item.content for item in items if isinstance(item, Example)]
    notes = [*notes, *about_missing("text", texts, source.missing)]
    if not any(isinstance(item, Example) for item in checked):
        first = next(item for item in checked if isinstance(item, Skipped))
        raise EmptyDataError(f"{source.where} has no row that can be used: {first.where}: {first.why}.")
    return place(checked, source, "text", notes)


def _without_text(item: Example | Skipped, missing: frozenset[str]) -> Skipped | None:
    """Why an example has no text to learn from; None if it has one."""
    if isinstance(item, Skipped):
        return item
    content = item.content
    if is_missing(content, missing):
        said = isinstance(content, str) and content.strip()
        return Skipped(item.where, f"its text is {said!r}" if said else "it has no text")
    if not isinstance(content, str):
        kind = type(content).__name__
        return Skipped(item.where, f"its text is {str(content)[:40]!r}, which is no string but of the type {kind}")
    if len(content) > MAX_CHARACTERS:
        return Skipped(item.where, f"its text has {len(content):,} characters, and at most {MAX_CHARACTERS:,} are read")
    return None
