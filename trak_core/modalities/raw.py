"""Data as they are read, before anything is made ready for a model; of the same form for every modality."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.inputs import take


@dataclass(frozen=True)
class RawSplit:
    """The examples of one split."""

    # as their modality has them: uint8 `[n, height, width, channels]` for images (one channel is grey, three are red,
    # green and blue), a list of strings for texts, or a tuple or dict of such
    contents: Any
    labels: NDArray[Any]  # int64 `[n]` class numbers, or floats where the data have no classes
    # the file or row that each example came from, relative to what was given; None where nothing tells
    origins: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "RawSplit":
        """The examples of the rows given, in that order."""
        origins = None if self.origins is None else take(self.origins, rows)
        return RawSplit(take(self.contents, rows), self.labels[rows], origins)


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
