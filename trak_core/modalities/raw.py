"""Data as they are read, before anything is made ready for a model; of the same form for every modality."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.inputs import take


@dataclass(frozen=True)
class LabelTable:
    """A table with the labels of examples that are kept elsewhere."""

    file: str  # below the folder given; its name alone where it lies elsewhere
    columns: tuple[str, ...]  # those that were read: of names, of labels, and perhaps of splits
    has_header: bool
    delimiter: str | None  # of a CSV file, where it is no usual one


LabelRow = tuple[LabelTable, int]
"""The row that holds a label, by its number as in origins."""


@dataclass(frozen=True)
class RawSplit:
    """The examples of one split."""

    # as their modality has them: uint8 `[n, height, width, channels]` for images (one channel is grey, three are red,
    # green and blue), a list of strings for texts, or a tuple or dict of such
    contents: Any
    labels: NDArray[Any]  # int64 `[n]` class numbers, or floats where the data have no classes
    # the file or row that each example came from, relative to what was given; None where nothing tells
    origins: list[str] | None = None
    # where each label stands, if that is a table beside the examples (None for one that stands elsewhere)
    label_rows: list[LabelRow | None] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "RawSplit":
        """The examples of the rows given, in that order."""
        origins = None if self.origins is None else take(self.origins, rows)
        label_rows = None if self.label_rows is None else take(self.label_rows, rows)
        return RawSplit(take(self.contents, rows), self.labels[rows], origins, label_rows)


@dataclass(frozen=True)
class Skipped:
    """A file or a row that was not taken."""

    where: str  # the file, below the folder given, or the file and the row
    why: str  # a clause without a full stop


@dataclass(frozen=True)
class RawData:
    """A data set as it was read."""

    name: str  # of the folder or file
    modality: str  # name of the modality of its examples
    class_names: tuple[str, ...]  # of the labels 0, 1, ...; empty where the data have no classes
    train: RawSplit  # examples to train on
    test: RawSplit  # examples to explain
    skipped: tuple[Skipped, ...] = ()  # what could not be read
    notes: tuple[str, ...] = ()  # what the reader decided by itself, a sentence each
    # what the reader settled for all contents and an encoding keeps for new ones, in types that JSON has
    settled: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] | None = None  # where and how it was read, as `CustomData.told`; None where nothing tells
