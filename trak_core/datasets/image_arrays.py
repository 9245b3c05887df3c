"""Images that come as whole arrays, brought into splits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.placing import Example, place
from trak_core.errors import InvalidDataError
from trak_core.modalities.raw import RawData, RawSplit

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


def from_arrays(
    name: str,
    source: object,
    parts: Sequence[ArrayPart],
    class_names: Sequence[str] | None = None,
    test_share: float = 0.2,
    seed: int = 0,
) -> RawData:
    """The data set that some arrays make up.

    Args:
        name: of the data set.
        source: where it lies, for messages.
        parts: its arrays; each split lies in one of them.
        class_names: where the source names them; labels are numbers from 0 then.
        test_share: of each class, put aside where there is no test split.
        seed: of that draw.

    Raises:
        EmptyDataError: no example has a label to train on.
        InvalidDataError: images and labels differ in number, images in size, two classes have one name, or there is
            one class only.
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
        raise InvalidDataError(f"{source} has images of {said} (height x width x channels); all must have one size.")
    examples = [
        Example(f"{part.where}, example {row}", (number, row), label, split)
        for number, part in enumerate(parts)
        for row, (label, split) in enumerate(zip(part.labels, _splits_of(part), strict=True))
    ]
    placed = place(examples, str(source), test_share, seed, class_names)
    return RawData(
        name=name,
        modality="image",
        class_names=placed.class_names,
        train=RawSplit(_gather(parts, placed.train), placed.train_labels),
        test=RawSplit(_gather(parts, placed.test), placed.test_labels),
        left_out=placed.left_out,
        notes=placed.notes,
    )


def _splits_of(part: ArrayPart) -> Sequence[str | None]:
    if part.splits is None or isinstance(part.splits, str):
        return [part.splits] * len(part.labels)
    return part.splits


def _gather(parts: Sequence[ArrayPart], examples: Sequence[Example]) -> NDArray[np.uint8]:
    """The pixels of examples, which lie in one part; the array itself where it is taken whole, to save memory."""
    pixels: NDArray[np.uint8] = parts[examples[0].content[0]].pixels
    rows = np.array([example.content[1] for example in examples])
    return pixels if np.array_equal(rows, np.arange(len(pixels))) else pixels[rows]
