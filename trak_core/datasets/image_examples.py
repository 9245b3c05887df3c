"""From image files to one array in two splits, in little more memory than that array takes.

Headers first: they say which size and how many channels the array needs. Then each file is decoded straight into its
row, and rows are brought into the order of the splits where they are. Which scale files of more than 8 bits share, and
on which ground transparent ones stand, is known once the train images are: those files are decoded again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.placing import DataSource, place
from trak_core.datasets.rows import Example
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.image.image_files import (
    ImageHeader,
    decode_images,
    quiet_decoders,
    read_header,
)
from trak_core.modalities.image.tones import AS_USUAL, Seen, Tones, tones_for
from trak_core.modalities.raw import RawData, Skipped

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
class ImageForm:
    """What all images are brought to.

    Raises:
        InvalidSettingError: one of them cannot be.
    """

    # height and width of all images in pixels, one number for a square; None to keep the size that all have, if it is
    # at most 64 on the longer side, and otherwise to take 64; at most 1,024
    size: int | tuple[int, int] | None = None
    channels: int | None = None  # 1 for grey, 3 for colours; None for grey where all images are

    def __post_init__(self) -> None:
        if (shape := self.shape) is not None and not all(1 <= side <= MAX_SIDE for side in shape):
            raise InvalidSettingError(
                f"size is {shape[0]:,} x {shape[1]:,} pixels; give 1 to {MAX_SIDE:,} a side, such as {SIDE}."
            )
        if self.channels not in (None, 1, 3):
            raise InvalidSettingError(f"channels is {self.channels}; give 1 for grey, 3 for colours, or None.")

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width in pixels, where they are given."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


@dataclass(frozen=True)
class ImageExample(Example):
    """An image that has a header; its content gives the file when it is called, from any thread."""

    header: ImageHeader = field(kw_only=True)  # what the file says about it


def read_headers(
    examples: Sequence[Example | Skipped], on_done: Callable[[int], object] = lambda n_done: None
) -> list[ImageExample | Skipped]:
    """The examples with the headers of their images; those whose files have none are left out too."""
    items: list[ImageExample | Skipped] = []
    with quiet_decoders():
        for number, one in enumerate(examples):
            if number % CHUNK == 0:
                on_done(number)
            if isinstance(one, Skipped):
                items.append(one)
                continue
            try:
                header = read_header(one.content())
                items.append(
                    ImageExample(one.where, one.content, one.label, one.split, header=header, origin=one.origin)
                )
            except InvalidDataError as error:
                items.append(Skipped(one.where, str(error)))
    return items


def images_from(
    items: Sequence[ImageExample | Skipped],
    source: DataSource,
    form: ImageForm,
    notes: Sequence[str] = (),
    on_done: Callable[[int], object] = lambda n_done: None,
) -> RawData:
    """The images with headers, as data; those that cannot be decoded are left out too.

    Raises:
        EmptyDataError: no image can be read, or see `place`.
        InvalidDataError: all images together take too much memory, or see `place`.
        LabelError: see `place`.
    """
    numbers = [number for number, item in enumerate(items) if isinstance(item, ImageExample)]
    found = [item for item in items if isinstance(item, ImageExample)]
    decoded = _decode(found, source, form, on_done)
    headers = [found[number].header for number in decoded.rows.values()]
    notes = [*notes, *_choose_size([header.size for header in headers], form.shape)[2]]
    if n_first := sum(header.has_more for header in headers):
        notes.append(f"Files with several pictures: {n_first:,}; the first of each was taken.")
    placed: list[Example | Skipped] = list(items)
    for number, why in decoded.failed.items():
        placed[numbers[number]] = Skipped(found[number].where, why)
    for row, number in decoded.rows.items():
        placed[numbers[number]] = replace(found[number], content=row)
    raw = place(placed, source, "image", notes)
    tones, said = tones_for([decoded.seen[row] for row in raw.train.contents])
    _decode_again(decoded, found, tones)
    pixels = _reordered(decoded.pixels, [*raw.train.contents, *raw.test.contents])
    if form.channels is None and pixels.shape[3] == 3 and _has_no_colour(pixels):
        pixels = pixels[..., :1].copy()
    n_train = len(raw.train)
    usual = {"levels": None, "ground": AS_USUAL.ground}
    return replace(
        raw,
        train=replace(raw.train, contents=pixels[:n_train]),
        test=replace(raw.test, contents=pixels[n_train:]),
        notes=(*raw.notes, *said),
        settled={name: value for name, value in asdict(tones).items() if value != usual[name]},
    )


@dataclass(frozen=True)
class _Decoded:
    """Images with their pixels."""

    pixels: NDArray[np.uint8]  # `[n_rows, height, width, channels]`
    rows: dict[int, int]  # from the rows that hold an image to the number of that image
    seen: dict[int, Seen]  # by the same rows: what each image says about tones
    failed: dict[int, str]  # why others could not be decoded, by the number of the image


def _decode(
    found: Sequence[ImageExample], source: DataSource, form: ImageForm, on_done: Callable[[int], object]
) -> _Decoded:
    """The pixels of the images, as if each were alone: of one size, with the tones that are usual."""
    furthest = 0

    def report(n_done: int) -> None:
        nonlocal furthest
        furthest = max(furthest, n_done)  # what is done again does not count twice
        on_done(furthest)

    rows = dict(enumerate(range(len(found))))
    failed: dict[int, str] = {}
    while rows:
        images = [found[number] for number in rows.values()]
        # What a broken file says of its size must not decide about the others.
        size = _choose_size([image.header.size for image in images], form.shape)[:2]
        n_channels = form.channels or (1 if all(image.header.is_grey for image in images) else 3)
        pixels = _room_for((len(images), *size, n_channels), source)
        told = decode_images([image.content for image in images], pixels, report)
        numbers = list(rows.values())
        seen = {row: one for row, one in told.items() if isinstance(one, Seen)}
        rows = {row: numbers[row] for row in seen}
        failed |= {numbers[row]: one for row, one in told.items() if isinstance(one, str)}
        sizes = [found[number].header.size for number in rows.values()]
        if rows and (len(rows) == len(images) or _choose_size(sizes, form.shape)[:2] == size):
            return _Decoded(pixels, rows, seen, failed)
        rows = dict(enumerate(rows.values()))
        del pixels  # before there is another
    first = "".join(f" ({found[number].where}: {why})" for number, why in islice(failed.items(), 1))
    raise EmptyDataError(f"{source.where} holds no image that can be read{first}; give images as PNG or JPEG.")


def _decode_again(decoded: _Decoded, found: Sequence[ImageExample], tones: Tones) -> None:
    """Brings the images whose tones are a matter of the whole data set to those that it has.

    Raises:
        InvalidDataError: a file cannot be read any more.
    """
    rows = [
        row
        for row, seen in decoded.seen.items()
        if (seen.levels is not None and tones.levels is not None)
        or (seen.contrasts is not None and tones.ground != AS_USUAL.ground)
    ]
    contents = [found[decoded.rows[row]].content for row in rows]
    for row, told in decode_images(contents, decoded.pixels, tones=tones, rows=rows).items():
        if isinstance(told, str):
            raise InvalidDataError(f"{found[decoded.rows[row]].where} changed while it was read: {told}; read it anew.")


def _room_for(shape: tuple[int, int, int, int], source: DataSource) -> NDArray[np.uint8]:
    """An array of that shape, `[n, height, width, channels]`, if memory can be expected to hold it."""
    n, height, width, channels = shape
    try:
        if math.prod(shape) > MAX_ARRAY_BYTES:
            raise MemoryError
        return np.empty(shape, dtype=np.uint8)
    except MemoryError as error:
        raise InvalidDataError(
            f"{source.where} has {n:,} images, which take {math.prod(shape) / 2**30:,.1f} GB with "
            f"{_said((height, width))} pixels and {channels} channels, more than the {MAX_ARRAY_BYTES // 2**30} GB "
            "that are read or than this machine has; lower the image size (size), or give fewer images."
        ) from error


def _choose_size(sizes: Sequence[tuple[int, int]], given: tuple[int, int] | None) -> tuple[int, int, list[str]]:
    """Height and width for all images of these sizes, and what is to be said about it."""
    different = sorted(set(sizes), key=lambda one: (one[0] * one[1], one))
    smallest, largest = different[0], different[-1]
    height, width = given or (smallest if smallest == largest and max(smallest) <= SIDE else (SIDE, SIDE))
    if different == [(height, width)]:
        return height, width, []
    had = f"{_said(smallest)} pixels (width x height)"
    if smallest != largest:
        heights, widths = (_range([size[axis] for size in different]) for axis in (0, 1))
        had = f"widths {widths} and heights {heights} pixels"
    note = (
        f"The images had {had} and were scaled to {_said((height, width))}, without distortion: what "
        "stood over was cropped at both ends."
    )
    return height, width, [note]


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"of {low:,}" if low == high else f"from {low:,} to {high:,}"


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
