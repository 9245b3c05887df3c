"""What is in a data set, before anything is trained on it."""

import json
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from trak_core.datasets.same_inputs import about_same
from trak_core.datasets.samples import Sample, samples_of
from trak_core.media import first_text
from trak_core.modalities import RawData, Skipped, find_modality

SHOWN = 5
"""Examples of each finding that the text names; the JSON has all of them."""
LETTERS = 90
"""Of the text of a sample in a terminal."""
CLASSES_LISTED = 30
"""Classes up to which the text lists each; of more it lists the largest and the smallest."""
CLASS_ENDS = 5
"""How many of each."""
FEW = 5
"""Train examples of a class below which a note says so."""


@dataclass(frozen=True)
class Repeated:
    """An input that occurs more than once."""

    train: tuple[int, ...]  # the train examples that have it, in ascending order
    test: tuple[int, ...]  # the test examples that have it
    labels: tuple[int, ...]  # the different labels that they bear


@dataclass(frozen=True)
class Forecast:
    """What so many minutes of a build buy, about."""

    minutes: float
    seconds_to_suspects: float  # until labels that look wrong are there
    seconds_to_scores: float  # until the run can be explored
    n_checkpoints: int  # models that scores average over
    n_subsets: int  # random halves that evidence is measured on; 0 where there is no time for it


@dataclass(frozen=True)
class DataReport:
    """What is in a data set."""

    name: str  # of the data set
    modality: str  # name of the modality of its examples
    class_names: tuple[str, ...]  # of the labels 0, 1, ..
    n_train: tuple[int, ...]  # train examples of each class
    n_test: tuple[int, ...]  # test examples of each class
    sizes: str  # of the examples, in words
    repeated: tuple[Repeated, ...]  # inputs that occur more than once, in the order of their first example
    skipped: tuple[Skipped, ...]  # what could not be read
    notes: tuple[str, ...]  # what the reader decided by itself
    samples: tuple[Sample, ...] = ()  # a few examples, to see whether they are what was meant
    forecasts: tuple[Forecast, ...] = ()  # what minutes of a build would buy; empty where nobody asked

    @property
    def plural(self) -> str:
        """What people call its examples."""
        return find_modality(self.modality).plural

    @property
    def noun(self) -> str:
        """What people call one of them."""
        return find_modality(self.modality).noun

    @property
    def duplicates(self) -> tuple[Repeated, ...]:
        """The inputs of more than one train example."""
        return tuple(one for one in self.repeated if len(one.train) > 1)

    @property
    def test_duplicates(self) -> tuple[Repeated, ...]:
        """The inputs of more than one test example."""
        return tuple(one for one in self.repeated if len(one.test) > 1)

    @property
    def leaks(self) -> tuple[Repeated, ...]:
        """The inputs of train and test examples at once."""
        return tuple(one for one in self.repeated if one.train and one.test)

    @property
    def conflicts(self) -> tuple[Repeated, ...]:
        """The inputs that bear more than one label."""
        return tuple(one for one in self.repeated if len(one.labels) > 1)

    @property
    def n_duplicates(self) -> int:
        """Train examples that repeat an earlier one."""
        return sum(len(one.train) - 1 for one in self.duplicates)

    @property
    def n_test_duplicates(self) -> int:
        """Test examples that repeat an earlier one."""
        return sum(len(one.test) - 1 for one in self.test_duplicates)

    @property
    def n_different(self) -> int:
        """Different inputs among all examples."""
        return sum(self.n_train) + sum(self.n_test) - sum(len(one.train) + len(one.test) - 1 for one in self.repeated)

    @property
    def n_leaks(self) -> int:
        """Test examples that are train examples too."""
        return sum(len(one.test) for one in self.leaks)

    def text(self) -> str:
        """The report for a terminal, names in the script that they have."""
        return "\n".join(_printable(line) for line in self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        n_train, n_test = sum(self.n_train), sum(self.n_test)
        yield f"{self.name}: {n_train:,} train and {n_test:,} test {self.plural} in {len(self.class_names)} classes"
        yield self.sizes
        yield ""
        # Names last: nobody can say how wide they are drawn.
        yield f"{'train':>9} {'test':>9}  class"
        yield from self._class_lines()
        yield ""
        if self.samples:
            yield f"Samples, {len(self.samples)} drawn from all classes:"
            yield from map(self._sample, self.samples)
            yield ""
        yield f"Left out: {len(self.skipped):,}"
        by_reason: dict[str, list[str]] = defaultdict(list)
        for one in self.skipped:
            by_reason[one.why].append(one.where)
        for why, places in sorted(by_reason.items(), key=lambda item: -len(item[1])):
            yield f"  {len(places):,} because {why}: {_some(places, '; ')}"
        yield f"Different {self.plural}: {self.n_different:,} of {n_train + n_test:,}"
        yield f"Duplicates, train examples that repeat an earlier one: {self.n_duplicates:,}"
        yield from _examples(self.duplicates)
        if self.test_duplicates:
            yield f"Repeated in the test split, test examples that repeat an earlier one: {self.n_test_duplicates:,}"
            yield from _examples(self.test_duplicates)
        yield f"Leaks, test examples that are train examples too: {self.n_leaks:,}"
        yield from _examples(self.leaks)
        yield f"Contradictions, inputs with more than one label: {len(self.conflicts):,}"
        for same in self.conflicts[:SHOWN]:
            yield f"  {_members(same)}: {', '.join(self.class_names[label] for label in same.labels)}"
        if self.notes:
            yield ""
            yield from self.notes

    def _class_lines(self) -> Iterator[str]:
        """A line for each class; of very many, for those with the most and with the fewest train examples."""
        lines = [
            f"{train:9,} {test:9,}  {name}"
            for name, train, test in zip(self.class_names, self.n_train, self.n_test, strict=bool(self.class_names))
        ]
        if len(lines) <= CLASSES_LISTED:
            yield from lines
            return
        by_size = sorted(range(len(lines)), key=lambda label: -self.n_train[label])  # equal ones in their order
        between = by_size[CLASS_ENDS:-CLASS_ENDS]
        most, fewest = self.n_train[between[0]], self.n_train[between[-1]]
        each = f"{most:,}" if most == fewest else f"{fewest:,} to {most:,}"
        yield from (lines[label] for label in by_size[:CLASS_ENDS])
        yield f"      ...       ...  {len(between):,} classes between, of {each} train examples each"
        yield from (lines[label] for label in by_size[-CLASS_ENDS:])

    def _sample(self, one: Sample) -> str:
        text = textwrap.shorten(first_text(one.media) or "", LETTERS, placeholder=" ...")
        shown = " ".join(part for part in (text, f"[{one.origin}]" if one.origin else "") if part)
        name = f"{self.class_names[one.label]}: " if self.class_names else ""
        return f"{one.split:>9}  {name}{shown}"

    def as_json(self) -> str:
        """The report with every example that it found, as JSON; names in the script that they have."""
        classes = zip(self.class_names, self.n_train, self.n_test, strict=bool(self.class_names))
        found = {
            "name": self.name,
            "modality": self.modality,
            "n_train": sum(self.n_train),
            "n_test": sum(self.n_test),
            "sizes": self.sizes,
            "classes": [{"name": name, "n_train": train, "n_test": test} for name, train, test in classes],
            "left_out": [asdict(one) for one in self.skipped],
            "n_different": self.n_different,
            "n_duplicates": self.n_duplicates,
            "n_test_duplicates": self.n_test_duplicates,
            "n_leaks": self.n_leaks,
            "n_conflicts": len(self.conflicts),
            "repeated": [asdict(one) for one in self.repeated],
            "notes": self.notes,
            "samples": [one.as_dict() for one in self.samples],
            **({"forecasts": [asdict(one) for one in self.forecasts]} if self.forecasts else {}),
        }
        return json.dumps(found, indent=2, ensure_ascii=False)


def report_on(raw: RawData, seed: int = 0) -> DataReport:
    """What is in a data set: counts, sizes, samples drawn by the seed, and the inputs that occur more than once.

    Which examples count as the same is told by their modality (`Modality.keys`): images when all their pixels are the
    same, texts when they differ in nothing but case, blanks, and the way in which Unicode composes letters.

    Raises:
        InvalidSettingError: the modality of the data is not known here.
    """
    modality = find_modality(raw.modality)
    places: dict[bytes, list[tuple[bool, int, int]]] = defaultdict(list)
    for is_test, examples in ((False, raw.train), (True, raw.test)):
        for idx, (key, label) in enumerate(
            zip(modality.keys(examples.contents), examples.labels.tolist(), strict=True)
        ):
            places[key].append((is_test, idx, label))
    repeated = tuple(
        Repeated(
            train=tuple(idx for is_test, idx, _ in place if not is_test),
            test=tuple(idx for is_test, idx, _ in place if is_test),
            labels=tuple(sorted({label for _, _, label in place})),
        )
        for place in places.values()
        if len(place) > 1
    )
    n_classes, names = len(raw.class_names), raw.class_names or ("",)  # without classes all examples are one
    same = [
        *about_same("train", modality.plural, [one.train for one in repeated], raw.train.labels, names),
        *about_same("test", modality.plural, [one.test for one in repeated], raw.test.labels, names),
    ]
    return DataReport(
        name=raw.name,
        modality=raw.modality,
        class_names=raw.class_names,
        n_train=tuple(np.bincount(raw.train.labels, minlength=n_classes).tolist()),
        n_test=tuple(np.bincount(raw.test.labels, minlength=n_classes).tolist()),
        sizes=modality.sizes(raw.train.contents, raw.test.contents),
        repeated=repeated,
        skipped=raw.skipped,
        notes=(*raw.notes, *same, *_about_few(raw)),
        samples=samples_of(raw, seed),
    )


def _about_few(raw: RawData) -> list[str]:
    """A note on the classes that have too few examples to be learnt; none where there are none."""
    counts = np.bincount(raw.train.labels, minlength=len(raw.class_names)).tolist() if raw.class_names else []
    few = [f"{name!r} ({count})" for name, count in zip(raw.class_names, counts, strict=True) if count < FEW]
    return [f"Classes with fewer than {FEW} train examples can hardly be learnt: {_some(few)}."] if few else []


def _examples(found: Sequence[Repeated]) -> Iterator[str]:
    yield from (f"  {_members(one)}" for one in found[:SHOWN])
    if len(found) > SHOWN:
        yield f"  and {len(found) - SHOWN:,} more"


def _members(one: Repeated) -> str:
    splits = (("train", one.train), ("test", one.test))
    return " = ".join(f"{split} {_some([str(idx) for idx in members])}" for split, members in splits if members)


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more


def _printable(line: str) -> str:
    """The line without characters that would move the cursor, colour the terminal or reverse what follows."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]", "\ufffd", line)
