"""A new image, prepared exactly as the training images were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trak_core.media import Picture
from trak_core.modalities.image.grey_picture import open_given
from trak_core.modalities.image.image_files import decode_and_look, quiet_decoders, read_header
from trak_core.modalities.image.pixels import Pixels, thumbnail
from trak_core.modalities.new_input import Field, NewInput, NewInputReader, Upload

FIELD = "image"
"""Name of the field that asks for an image."""
IMAGE_TYPES = ("png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "pgm", "ppm", "jp2", "avif")
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
    with quiet_decoders(), open_given(content):
        header = read_header(content)
        pixels, seen = decode_and_look(content, (look.height, look.width), look.n_channels, look.tones)
    steps = []
    if header.has_more:
        steps.append("The file has several pictures; this is the first.")
    height, width = header.size
    if (height, width) != (look.height, look.width):
        is_cropped = height * look.width != width * look.height
        steps.append(
            f"Scaled from {width:,} × {height:,} pixels{', the edges cut off on both sides' if is_cropped else ''}."  # noqa: RUF001
        )
    if seen.levels is not None:
        steps.append(
            f"Tones brought to the scale of the data: {look.levels[0]:,.6g} is black, {look.levels[1]:,.6g} is white."
            if look.levels
            else "Tones brought from more than 8 bits to 8."
        )
    if look.n_channels == 1 and not header.is_grey:
        steps.append("Made grey.")
    steps.append(f"Prepared exactly as the training images: {look.in_words}.")
    return NewInput(pixels[None], (Picture(thumbnail(pixels)),), tuple(steps))
