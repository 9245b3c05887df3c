"""Uploaded bytes as a grey picture: every kind of file is read right or refused in one sentence, in little memory.

The size is read off the header and checked before a pixel is decoded, so that a small file that would unpack to
gigabytes is refused unopened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trak_core.errors import InvalidDataError
from trak_core.modalities.image.image_files import ImageFileError, check_pixels, eight_bits, open_image, upright

MAX_BYTES = 10 * 2**20
MAX_PIXELS = 20_000_000
"""More than this would need over 200 MB to decode: four bytes a pixel, and a copy."""
WORKING_PIXELS = 256
"""The longer side of what is looked at closely; anything larger is reduced to it."""


@dataclass(frozen=True)
class GreyPicture:
    """A picture, ready to be looked at."""

    # float32 `[height, width]`, 0 black to 1 white; the longer side has at most 256 pixels, unless the picture has the
    # small size that data has
    tones: NDArray[np.float32]
    steps: tuple[str, ...]  # what was done to the file, a sentence each


def read_grey(content: bytes) -> GreyPicture:
    """The picture in a file that somebody gave; errors are those of `open_given`."""
    steps: list[str] = []
    with open_given(content) as image:
        if (n_frames := int(getattr(image, "n_frames", 1))) > 1:
            steps.append(f"The file has {n_frames} pictures; this is the first.")
            image.seek(0)
        return GreyPicture(_tones(image, steps), tuple(steps))


@contextmanager
def open_given(content: bytes) -> Iterator[Image.Image]:
    """The image in a file that somebody gave, not decoded yet.

    Raises:
        InvalidDataError: the file is empty, too large, no image, a drawing, damaged, or of a kind that is not read.
    """
    beginning = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if beginning.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        raise InvalidDataError("this is an SVG drawing, which is not read; export it as a PNG.")
    try:
        with open_image(content, MAX_BYTES, MAX_PIXELS) as image:
            check_pixels(image, MAX_PIXELS)
            yield image
    except ImageFileError as error:
        raise InvalidDataError(f"{error}; {error.advice}.") from error


def _tones(image: Image.Image, steps: list[str]) -> NDArray[np.float32]:
    """Grey tones of an open image, upright, reduced, and with a ground where it is transparent."""
    # JPEG decodes straight to a smaller size; other formats ignore this. Twice what is needed keeps strokes sharp.
    image.draft(None, (2 * WORKING_PIXELS, 2 * WORKING_PIXELS))
    if image.mode in ("P", "PA") or "transparency" in image.info:
        picture: Image.Image = image.convert("RGBA")
    else:
        image.load()
        picture = image
    if picture.mode not in ("RGB", "RGBA", "L", "LA", "1"):
        picture = _plain_mode(picture, steps)
    elif picture.mode == "1":
        picture = picture.convert("L")
    picture = _reduced(picture)
    if (turned := upright(picture, image)) is not picture:
        picture = turned
        steps.append("Turned upright, as the camera noted.")
    if picture.mode in ("LA", "RGBA"):
        return _on_ground(picture, steps)
    return np.asarray(np.asarray(picture.convert("L")) / 255, dtype=np.float32)


def _plain_mode(picture: Image.Image, steps: list[str]) -> Image.Image:
    """Other ways to store a pixel, CMYK and more than 8 bits among them, as 8-bit grey or RGB."""
    if picture.mode.startswith("I") or picture.mode == "F":
        steps.append("Tones brought from 16 bits or more to 8.")
        return eight_bits(_reduced(picture))
    if picture.mode == "CMYK":
        steps.append("Colours brought from print (CMYK) to screen.")
    return _reduced(picture).convert("RGBA" if picture.mode in ("La", "RGBa") else "RGB")


def _reduced(picture: Image.Image) -> Image.Image:
    """The picture with at most 256 pixels on its longer side."""
    longer = max(picture.size)
    if longer <= WORKING_PIXELS:
        return picture
    if picture.mode.startswith("I;16"):  # cannot be resampled
        step = -(-longer // WORKING_PIXELS)
        return Image.fromarray(np.ascontiguousarray(np.asarray(picture)[::step, ::step]))
    size = [max(1, round(side * WORKING_PIXELS / longer)) for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.BOX, reducing_gap=2.0)


def _on_ground(picture: Image.Image, steps: list[str]) -> NDArray[np.float32]:
    """Tones of a picture with transparency, on a ground opposite to what is drawn."""
    grey, alpha = (np.asarray(band, dtype=np.float32) / 255 for band in picture.convert("LA").split())
    if float(alpha.min()) > 0.99:
        return np.asarray(grey, dtype=np.float32)
    drawn = float((grey * alpha).sum() / max(float(alpha.sum()), 1e-6))
    ground = 1.0 if drawn < 0.5 else 0.0
    steps.append(f"Transparent parts taken as {'white' if ground else 'black'}.")
    return np.asarray(grey * alpha + ground * (1 - alpha), dtype=np.float32)
