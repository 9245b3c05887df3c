"""A person's own image, prepared exactly as the training images of a run of own data were."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.image_files import (
    ImageFileError,
    check_pixels,
    decode_image,
    open_image,
    quiet_decoders,
    read_header,
)
from trak_core.datasets.pixels import Pixels, thumbnail
from trak_core.errors import InvalidDataError
from trak_core.live.images import MAX_BYTES, MAX_PIXELS, refuse_drawings

__all__ = ["PreparedImage", "look_in_words", "prepare_image"]


@dataclass(frozen=True)
class PreparedImage:
    """An image as the model sees it.

    Attributes:
        pixels: uint8 `[height, width, channels]`.
        inputs: float32 `[1, channels, height, width]`, what the file would be as a training example.
        steps: what was done to the file, a sentence each.
    """

    pixels: NDArray[np.uint8]
    inputs: NDArray[np.float32]
    steps: tuple[str, ...]

    @property
    def thumbnail(self) -> bytes:
        """PNG bytes of the pixels, as those of stored examples."""
        return thumbnail(self.pixels)


def look_in_words(look: Pixels) -> str:
    """What images have that a model takes, such as "32 × 32 pixels, in colour"."""
    return f"{look.width} × {look.height} pixels, {'grey' if look.n_channels == 1 else 'in colour'}"  # noqa: RUF001


def prepare_image(content: bytes, look: Pixels) -> PreparedImage:
    """An image file as an input of the model, by the very code that read the training images.

    Args:
        content: of the file, whatever it is.
        look: what the training images were brought to.

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
    steps.append(f"Prepared exactly as the training images: {look_in_words(look)}.")
    return PreparedImage(pixels, look.inputs(pixels[None]), tuple(steps))
