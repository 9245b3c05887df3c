"""Data as they are read, before anything is made ready for a model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["LeftOut", "RawData", "RawImages", "RawTexts"]


@dataclass(frozen=True)
class RawImages:
    """The images of one split.

    Attributes:
        pixels: uint8 `[n, height, width, channels]`; one channel is grey, three are red, green and blue.
        labels: int64 `[n]`.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class RawTexts:
    """The texts of one split.

    Attributes:
        texts: as they were read.
        labels: int64 `[n]`.
    """

    texts: list[str]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


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
        modality: what kind of examples it holds.
        class_names: of the labels 0, 1, ...
        train: examples to train on.
        test: examples to explain.
        left_out: what could not be read.
        notes: what the reader decided by itself, a sentence each.
    """

    name: str
    modality: Literal["image", "text"]
    class_names: tuple[str, ...]
    train: RawImages | RawTexts
    test: RawImages | RawTexts
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
