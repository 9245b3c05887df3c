"""Images that come as whole arrays, brought into splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.placing import DataSource, place
from trak_core.datasets.rows import Example
from trak_core.errors import InvalidDataError
from trak_core.modalities.raw import RawData

MAX_ARRAY_BYTES = 4 * 2**30
"""More than this in one array is refused unread."""


@dataclass(frozen=True)
class ArrayPart:
    """Images of one file or array."""

    where: str  # what holds the labels, for messages
    pixels: NDArray[np.uint8]  # uint8 `[n, height, width, channels]`
    labels: Sequence[int | float | str]  # numbers or names, one for each image
    # the split of each image; one for all of them, or None where there are no splits
    splits: Sequence[str] | str | None
    origins: Sequence[str]  # of each image: the array that holds its label, and its number there, from 0


def from_arrays(parts: Sequence[ArrayPart], source: DataSource) -> RawData:
    """The data set that some arrays make up; each split lies in one of them.

    Raises:
        EmptyDataError: no example has a label to train on.
        InvalidDataError: images and labels differ in number, images in size, or there is one class only.
        LabelError: the labels name no classes.
    """
    for part in parts:
        if len(part.pixels) != len(part.labels):
            raise InvalidDataError(
                f"{part.where} has {len(part.labels):,} labels for {len(part.pixels):,} images; take files that belong "
                "together."
            )
    sizes = {part.pixels.shape[1:] for part in parts}
    if len(sizes) > 1:
        said = ", ".join(" x ".join(map(str, size)) for size in sorted(sizes))
        raise InvalidDataError(
            f"{source.where} has images of {said} (height x width x channels); all must have one size."
        )
    examples = [
        Example(f"{part.where}, example {row}", (number, row), label, split, origin=part.origins[row])
        for number, part in enumerate(parts)
        for row, (label, split) in enumerate(zip(part.labels, _splits_of(part), strict=True))
    ]
    raw = place(examples, source, "image")
    train, test = (replace(split, contents=_gather(parts, split.contents)) for split in (raw.train, raw.test))
    return replace(raw, train=train, test=test)


def numbered(array: str, n: int) -> list[str]:
    """The origins of the values of an array: "y_train[0]", "y_train[1]", ..."""
    return [f"{array}[{row}]" for row in range(n)]


def _splits_of(part: ArrayPart) -> Sequence[str | None]:
    if part.splits is None or isinstance(part.splits, str):
        return [part.splits] * len(part.labels)
    return part.splits


def _gather(parts: Sequence[ArrayPart], places: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    """The pixels of examples, which lie in one part; the array itself where it is taken whole, to save memory."""
    pixels: NDArray[np.uint8] = parts[places[0][0]].pixels
    rows = np.array([row for _, row in places])
    return pixels if np.array_equal(rows, np.arange(len(pixels))) else pixels[rows]


def names_in(file: Path, advice: str) -> tuple[str, ...]:
    """The names in a text file, one a line.

    Raises:
        InvalidDataError: it cannot be read, or is not UTF-8.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise InvalidDataError(f"{file} cannot be read ({error}); {advice}.") from error
    return tuple(line.strip() for line in lines if line.strip())
