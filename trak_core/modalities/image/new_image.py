"""A new image, prepared exactly as the training images were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trak_core.errors import InvalidDataError
from trak_core.media import Picture
from trak_core.modalities.image.grey_picture import MAX_BYTES, MAX_PIXELS, refuse_drawings
from trak_core.modalities.image.image_files import (
    ImageFileError,
    check_pixels,
    decode_image,
    open_image,
    quiet_decoders,
    read_header,
)
from trak_core.modalities.image.pixels import Pixels, thumbnail
from trak_core.modalities.new_input import Field, NewInput, NewInputReader, Upload

FIELD = "image"
"""Name of the field that asks for an image."""
IMAGE_TYPES = ("png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff")
"""Endings of the files that are read."""


class NewImages(NewInputReader):
    """Images that somebody uploads, brought to what the model takes."""

    invitation = "Upload an image"

    def __init__(self, look: Pixels) -> None:
        self.look = look
        caption = f"Brought to what the model takes: {look.in_words}."
        self.fields = (Field(FIELD, (Upload("Upload an image like those of the data", caption, IMAGE_TYPES),)),)

    def read(self, given: Mapping[str, Any]) -> NewInput:
        """As in `NewInputReader`."""
        return prepare_image(given[FIELD], self.look)


def prepare_image(content: bytes, look: Pixels) -> NewInput:
    """An image file as a new example, by the very code that read the training images.

    Its contents are uint8 `[1, height, width, channels]`.

    Raises:
        InvalidDataError: the file is empty, too large, no image, damaged, or of a kind that is not read.
    """
    refuse_drawings(content)
    try:
        with quiet_decoders():
            with open_image(content, MAX_BYTES, MAX_PIXELS) as image:
                check_pixels(image, MAX_PIXELS)
            header = read_header(content)
            pixels = decode_image(content, (look.height, look.width), look.n_channels)
    except ImageFileError as error:
        raise InvalidDataError(f"{error}; {error.advice}.") from error
    steps = []
    if header.has_more:
        steps.append("The file has several pictures; this is the first.")
    height, width = header.size
    if (height, width) != (look.height, look.width):
        is_cropped = height * look.width != width * look.height
        steps.append(
            f"Scaled from {width:,} × {height:,} pixels{', the edges cut off on both sides' if is_cropped else ''}."  # noqa: RUF001
        )
    if look.n_channels == 1 and not header.is_grey:
        steps.append("Made grey.")
    steps.append(f"Prepared exactly as the training images: {look.in_words}.")
    return NewInput(pixels[None], (Picture(thumbnail(pixels)),), tuple(steps))
