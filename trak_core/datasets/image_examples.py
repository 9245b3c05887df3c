"""From image files to one array in two splits, in little more memory than that array takes.

Headers first: they say which size and how many channels the array needs. Then each file is decoded straight into its
row, and rows are brought into the order of the splits where they are.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.placing import Example, place
from trak_core.datasets.splitting import check_share
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.image.image_files import (
    ImageHeader,
    decode_images,
    height_and_width,
    quiet_decoders,
    read_header,
)
from trak_core.modalities.raw import LeftOut, RawData, RawSplit

SIDE = 64
"""The longer side that images may have before they are scaled, and the side they are scaled to."""
MAX_SIDE = 1024
"""The most that can be asked for: far more than what models here are trained on."""
MAX_ARRAY_BYTES = 8 * 2**30
COLUMNS = 1024
"""Bytes of every image that are moved at a time."""
CHUNK = 1000
"""Headers read between two reports of progress."""


@dataclass(frozen=True)
class ImageSettings:
    """How images are read.

    Raises:
        InvalidSettingError: one of them cannot be.
    """

    # height and width of all images in pixels, one number for a square; None to keep the size that all have, if it is
    # at most 64 on the longer side, and otherwise to take 64; at most 1,024
    size: int | tuple[int, int] | None = None
    channels: int | None = None  # 1 for grey, 3 for colours; None for grey where all images are
    test_share: float = 0.2  # of each class, put aside where there is no test split
    seed: int = 0  # of that draw

    def __post_init__(self) -> None:
        check_share(self.test_share)
        if self.size is not None and max(given := height_and_width(self.size)) > MAX_SIDE:
            raise InvalidSettingError(
                f"size is {given[0]:,} x {given[1]:,} pixels; give 1 to {MAX_SIDE:,} a side, such as {SIDE}."
            )
        if self.channels not in (None, 1, 3):
            raise InvalidSettingError(f"channels is {self.channels}; give 1 for grey, 3 for colours, or None.")


@dataclass(frozen=True)
class FoundImage:
    """An image that has a header."""

    example: Example  # its content gives the file when it is called, from any thread
    header: ImageHeader  # what the file says about it


def read_headers(
    examples: Sequence[Example], on_done: Callable[[int], object] = lambda n_done: None
) -> tuple[list[FoundImage], list[LeftOut]]:
    """The examples whose files have the header of an image, and the others, each in the order given.

    Args:
        examples: the content of each gives its file when it is called.
        on_done: called with the number of examples so far, every now and then.
    """
    found: list[FoundImage] = []
    left_out: list[LeftOut] = []
    with quiet_decoders():
        for number, example in enumerate(examples):
            if number % CHUNK == 0:
                on_done(number)
            try:
                found.append(FoundImage(example, read_header(example.content())))
            except InvalidDataError as error:
                left_out.append(LeftOut(example.where, str(error)))
    return found, left_out


def images_from(
    name: str,
    source: str,
    found: Sequence[FoundImage],
    settings: ImageSettings,
    class_names: Sequence[str] | None = None,
    on_done: Callable[[int], object] = lambda n_done: None,
) -> RawData:
    """The images that were found, as data; those that cannot be decoded are left out.

    Args:
        name: of the data.
        source: for messages.
        found: at least one.
        settings: for all of them.
        class_names: see `place`.
        on_done: called with the number of images so far, every now and then.

    Raises:
        EmptyDataError: no image can be decoded, or see `place`.
        InvalidDataError: all images together take too much memory, or see `place`.
        LabelError: see `place`.
    """
    pixels, decoded, why = _decode(found, source, settings, on_done)
    _, _, notes = _choose_size([image.header.size for image in decoded.values()], settings.size)
    if n_first := sum(image.header.has_more for image in decoded.values()):
        notes.append(f"Files with several pictures: {n_first:,}; the first of each was taken.")
    examples = [replace(image.example, content=row) for row, image in decoded.items()]
    placed = place(examples, source, settings.test_share, settings.seed, class_names)
    pixels = _reordered(pixels, [example.content for example in (*placed.train, *placed.test)])
    if settings.channels is None and pixels.shape[3] == 3 and _has_no_colour(pixels):
        pixels = pixels[..., :1].copy()
    why |= {one.where: one.why for one in placed.left_out}
    n_train = len(placed.train)
    return RawData(
        name=name,
        modality="image",
        class_names=placed.class_names,
        train=RawSplit(pixels[:n_train], placed.train_labels),
        test=RawSplit(pixels[n_train:], placed.test_labels),
        left_out=tuple(LeftOut(where, why[where]) for image in found if (where := image.example.where) in why),
        notes=(*notes, *placed.notes),
    )


def _decode(
    found: Sequence[FoundImage], source: str, settings: ImageSettings, on_done: Callable[[int], object]
) -> tuple[NDArray[np.uint8], dict[int, FoundImage], dict[str, str]]:
    """The pixels; the images in their rows, without those that cannot be decoded; and why these cannot."""
    furthest = 0

    def report(n_done: int) -> None:
        nonlocal furthest
        furthest = max(furthest, n_done)  # what is done again does not count twice
        on_done(furthest)

    images = list(found)
    why: dict[str, str] = {}
    while True:
        height, width, _ = _choose_size([image.header.size for image in images], settings.size)
        n_channels = settings.channels or (1 if all(image.header.is_grey for image in images) else 3)
        pixels = _room_for((len(images), height, width, n_channels), source)
        failed = decode_images([image.example.content for image in images], pixels, report)
        why |= {images[row].example.where: reason for row, reason in failed.items()}
        decoded = {row: image for row, image in enumerate(images) if row not in failed}
        if not decoded:
            where = found[0].example.where
            raise EmptyDataError(
                f"{source} holds no image that can be read ({where}: {why[where]}); give images as PNG or JPEG."
            )
        # What a broken file says of its size must not decide about the others.
        images = list(decoded.values())
        sizes = [image.header.size for image in images]
        if not failed or _choose_size(sizes, settings.size)[:2] == (height, width):
            return pixels, decoded, why
        del pixels  # before there is another


def _room_for(shape: tuple[int, int, int, int], source: str) -> NDArray[np.uint8]:
    """An array of that shape, `[n, height, width, channels]`, if memory can be expected to hold it."""
    n, height, width, channels = shape
    try:
        if math.prod(shape) > MAX_ARRAY_BYTES:
            raise MemoryError
        return np.empty(shape, dtype=np.uint8)
    except MemoryError as error:
        raise InvalidDataError(
            f"{source} has {n:,} images, which take {math.prod(shape) / 2**30:,.1f} GB with {_said((height, width))} "
            f"pixels and {channels} channels, more than the {MAX_ARRAY_BYTES // 2**30} GB that are read or than this "
            "machine has; lower --size, or give fewer images."
        ) from error


def _choose_size(sizes: Sequence[tuple[int, int]], size: int | tuple[int, int] | None) -> tuple[int, int, list[str]]:
    """Height and width for all images of these sizes, and what is to be said about it."""
    different = sorted(set(sizes), key=lambda one: (one[0] * one[1], one))
    smallest, largest = different[0], different[-1]
    if size is not None:
        height, width = height_and_width(size)
    else:
        height, width = smallest if smallest == largest and max(smallest) <= SIDE else (SIDE, SIDE)
    if different == [(height, width)]:
        return height, width, []
    had = _said(smallest) if smallest == largest else f"from {_said(smallest)} to {_said(largest)}"
    note = (
        f"The images had {had} pixels (width x height) and were scaled to {_said((height, width))}, without "
        "distortion: what stood over was cropped at both ends."
    )
    return height, width, [note]


def _said(size: tuple[int, int]) -> str:
    return f"{size[1]:,} x {size[0]:,}"


def _reordered(pixels: NDArray[np.uint8], rows: Sequence[int]) -> NDArray[np.uint8]:
    """The rows asked for, moved within the array that is there: a second one might not fit into memory."""
    flat = pixels.reshape(len(pixels), -1)
    for start in range(0, flat.shape[1], COLUMNS):
        columns = flat[:, start : start + COLUMNS]
        columns[: len(rows)] = columns[rows]
    return pixels[: len(rows)]


def _has_no_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether red, green and blue are the same throughout; looked at in parts, to stop early."""
    parts = (pixels[start : start + CHUNK] for start in range(0, len(pixels), CHUNK))
    return all(bool((part == part[..., :1]).all()) for part in parts)
