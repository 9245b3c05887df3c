"""Data as they are read, before anything is made ready for a model; of the same form for every modality."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.inputs import take

__all__ = ["LeftOut", "RawData", "RawSplit"]


@dataclass(frozen=True)
class RawSplit:
    """The examples of one split.

    Attributes:
        contents: of all examples, as their modality has them: uint8 `[n, height, width, channels]` for images (one
            channel is grey, three are red, green and blue), a list of strings for texts, or a tuple or dict of such.
        labels: int64 `[n]` class numbers, or floats where the data have no classes.
    """

    contents: Any
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> "RawSplit":
        """The examples of the rows given, in that order."""
        return RawSplit(take(self.contents, rows), self.labels[rows])


@dataclass(frozen=True)
class LeftOut:
    """A file or a row that was not taken.

    Attributes:
        where: the file, below the folder given, or the file and the row.
        why: a clause without a full stop.
    """

    where: str
    why: str


@dataclass(frozen=True)
class RawData:
    """A data set as it was read.

    Attributes:
        name: of the folder or file.
        modality: name of the modality of its examples.
        class_names: of the labels 0, 1, ...; empty where the data have no classes.
        train: examples to train on.
        test: examples to explain.
        left_out: what could not be read.
        notes: what the reader decided by itself, a sentence each.
    """

    name: str
    modality: str
    class_names: tuple[str, ...]
    train: RawSplit
    test: RawSplit
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
