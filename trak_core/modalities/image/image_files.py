"""Image files as pixels: every common kind is read right or refused in one clause, in little memory.

The size is read off the header and checked before a pixel is decoded, so that a small file that would unpack to
gigabytes is refused unopened.
"""

import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from trak_core.errors import InvalidDataError
from trak_core.modalities.image.tones import AS_USUAL, Seen, Tones, as_bytes, contrasts_of, own_levels

# PPM stands for PBM, PGM, PNM and PFM too.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
ALLOWED = "a PNG, JPEG, GIF, WebP, AVIF, JPEG 2000, BMP, TIFF, PGM or PPM"
MAX_BYTES = 100 * 2**20
MAX_PIXELS = 50_000_000
"""More than this would need over 800 MB to decode, in WebP: four bytes a pixel, up to four times."""
LARGE_PIXELS = 10_000_000
"""Images from this size on are decoded one at a time, for the sake of memory."""
_one_large = threading.Lock()
MAX_WORKERS = 4
CHUNK = 256
"""Images decoded between two reports of progress; a stop waits for no more than these."""
# Modes of Pillow that hold tones without colour.
_GREY = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"))
# What brings a picture upright, by the orientation in its Exif data. Done by hand: reducing the picture loses the note.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Content = bytes | Path
"""What a file holds, or where it lies."""


class ImageFileError(InvalidDataError):
    """An image file that cannot be read: the text is a clause that says why, `advice` one that says what helps."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why)
        self.advice = advice


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about its image."""

    size: tuple[int, int]  # height and width of the image as it stands upright, in pixels
    is_grey: bool  # whether it is stored without colours; a palette may hold greys all the same
    has_more: bool  # whether the file holds further pictures; this is the first


@contextmanager
def open_image(content: Content, max_bytes: int, max_pixels: int) -> Iterator[Image.Image]:
    """The image in a file, not decoded yet; whatever goes wrong while it is open is told in one clause.

    Pixels beyond `max_pixels` are refused by `check_pixels`; here the number only stands in a message.

    Raises:
        ImageFileError: the file is empty, too large, no image, damaged, or of a kind that is not read.
    """
    try:
        _check_bytes(len(content) if isinstance(content, bytes) else content.stat().st_size, max_bytes)
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS) as image:
            yield image
    except InvalidDataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels("far", max_pixels) from error
    except MemoryError as error:
        raise ImageFileError("there is not enough memory to open this image", "make it smaller") from error
    except UnidentifiedImageError as error:
        raise ImageFileError("this file cannot be read as an image", f"give {ALLOWED}") from error
    except Exception as error:  # decoders raise all sorts of things at damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise ImageFileError(f"this file cannot be opened ({error.strerror})", "check it") from error
        raise ImageFileError(
            f"this image is damaged or cut off ({type(error).__name__})", "save it anew as a PNG or JPEG"
        ) from error


def _check_bytes(n_bytes: int, max_bytes: int) -> None:
    if n_bytes == 0:
        raise ImageFileError("this file is empty", f"give {ALLOWED}")
    if n_bytes > max_bytes:
        raise ImageFileError(
            f"this file has {n_bytes / 2**20:.0f} MB, and at most {max_bytes // 2**20} MB are read",
            "make the image smaller",
        )


def check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Refuses an image that would take more than `max_pixels` to decode.

    Raises:
        ImageFileError: it has more.
    """
    width, height = image.size
    if width * height > max_pixels:
        how_many = f"{width:,} x {height:,} pixels, {width * height / 1e6:,.0f} million, which is"
        raise _too_many_pixels(how_many, max_pixels)


def _too_many_pixels(how_many: str, max_pixels: int) -> ImageFileError:
    return ImageFileError(
        f"this image has {how_many} more than the {max_pixels // 1_000_000} million pixels that are read",
        "make it smaller",
    )


def upright(picture: Image.Image, image: Image.Image) -> Image.Image:
    """The picture turned as the camera noted in the file, which is decoded by now; the same one if there is no note."""
    turn = _TURNS.get(_orientation(image))
    return picture if turn is None else picture.transpose(turn)


def _is_on_side(image: Image.Image) -> bool:
    """Whether width and height change places when the image is turned upright."""
    return _orientation(image) >= 5


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged note is no reason to lose the picture
        return 1


def eight_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of 16 bits, wider integers or fractions in 8 bits, on a scale of its own.

    Raises:
        ImageFileError: it has pixels that are no numbers.
    """
    return _deep_grey(picture, AS_USUAL)[0]


def _deep_grey(picture: Image.Image, tones: Tones) -> tuple[Image.Image, tuple[float, float]]:
    """A grey picture of more than 8 bits in 8 bits, with its least and its largest value."""
    values = np.array(picture, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ImageFileError("this image has pixels that are no numbers", "save it anew as a PNG")
    levels = float(values.min()), float(values.max())
    own = own_levels(*levels, picture.mode.startswith("I;16"))
    return Image.fromarray(as_bytes(values, tones.levels or own)), levels


def read_header(content: Content) -> ImageHeader:
    """What an image file says about itself, without decoding it.

    Raises:
        ImageFileError: the file is empty, too large or no image, or has more pixels than are decoded at any size.
    """
    with open_image(content, MAX_BYTES, MAX_PIXELS) as image:
        if not _can_shrink(image):
            check_pixels(image, MAX_PIXELS)
        width, height = image.size
        # A PNG would be decoded to look for a note behind its pixels; a TIFF gives the size after its turn.
        if image.format not in ("PNG", "TIFF") and _is_on_side(image):
            width, height = height, width
        return ImageHeader((height, width), image.mode in _GREY, _has_more(image))


def _can_shrink(image: Image.Image) -> bool:
    """Whether the image can be decoded straight to a smaller size."""
    # Progressive ones are held whole before there is a pixel, drafted or not.
    return isinstance(image, JpegImageFile) and not image.info.get("progressive")


def _has_more(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damage behind the first picture does not matter
        return True


def decode_and_look(
    content: Content, size: tuple[int, int], channels: int, tones: Tones = AS_USUAL
) -> tuple[NDArray[np.uint8], Seen]:
    """The pixels of an image file, grey (1 channel) or red, green and blue (3), and what it says about tones.

    The image stands upright; of several pictures it is the first; transparent parts have the tone of the ground. To
    reach `size` (height and width) it is scaled with its proportions, and what stands over on its longer side is cut
    off at both ends.

    Returns:
        uint8 `[height, width, channels]`, and what was seen.

    Raises:
        ImageFileError: the file cannot be read; the text is a clause, without the name of the file.
    """
    height, width = size
    with open_image(content, MAX_BYTES, MAX_PIXELS) as image:
        if _can_shrink(image):
            # Twice what is needed keeps edges sharp.
            least_width, least_height = (height, width) if _is_on_side(image) else (width, height)
            image.draft(None, (2 * least_width, 2 * least_height))
        check_pixels(image, MAX_PIXELS)
        with _one_large if image.width * image.height >= LARGE_PIXELS else nullcontext():
            picture, levels = _plain(image, content, tones)
            picture = _fitted(picture, *((height, width) if _is_on_side(image) else (width, height)))
        picture = upright(picture, image)
        contrasts = None
        if picture.mode in ("LA", "RGBA"):
            drawn = picture.convert("RGBA")
            contrasts = contrasts_of(np.asarray(drawn), channels)
            ground = Image.new("RGBA", picture.size, (tones.ground, tones.ground, tones.ground, 255))
            picture = Image.alpha_composite(ground, drawn)
        pixels = np.array(picture.convert("L" if channels == 1 else "RGB")).reshape(height, width, channels)
        return pixels, Seen(levels, contrasts)


def _plain(image: Image.Image, content: Content, tones: Tones) -> tuple[Image.Image, tuple[float, float] | None]:
    """The image, decoded, as 8-bit grey or RGB, either with or without transparency.

    With its least and its largest value, where it has more than 8 bits a channel.
    """
    wide = _wide_colours(image)  # loading forgets it
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey(image, tones)
    if wide:
        return _deep_colours(image, content, wide, tones)
    if image.mode in ("P", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA"), None
    if image.mode in ("1", "La"):
        return image.convert("L" if image.mode == "1" else "LA"), None
    return image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert("RGB"), None


def _wide_colours(image: Image.Image) -> str:
    """How a file of 16 bits for each colour stores them, in Pillow's words, as "RGB;16B"; empty for other files."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else None
    stored = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return stored if isinstance(stored, str) and stored[:-1] in ("RGB;16", "RGBA;16") else ""


def _deep_colours(
    image: Image.Image, content: Content, stored: str, tones: Tones
) -> tuple[Image.Image, tuple[float, float]]:
    """A picture of 16 bits for each colour, of which `image` holds the upper 8; likewise."""
    # Read with the bytes of each number the other way round, the picture is that of the lower 8 bits.
    order = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}[stored[-1]]
    with open_image(content, MAX_BYTES, MAX_PIXELS) as opened:
        lower: Any = opened  # its tiles say how pixels are stored
        lower.tile = [_stored_as(tile, stored[:-1] + order) for tile in lower.tile]
        values = np.array(lower, dtype=np.float32)[..., :3]
    values += np.float32(256) * np.asarray(image)[..., :3]
    levels = float(values.min()), float(values.max())
    picture = Image.fromarray(as_bytes(values, tones.levels or own_levels(*levels, is_16_bit=True)))
    if image.mode == "RGBA":
        picture.putalpha(image.getchannel("A"))
    return picture, levels


def _stored_as(tile: Any, stored: str) -> Any:
    """A tile of Pillow, read as if its pixels were stored in another way."""
    return tile._replace(args=(stored, *tile.args[1:]) if isinstance(tile.args, tuple) else stored)


def _fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of the picture, in the proportions asked for, at that size."""
    scale = min(picture.width / width, picture.height / height)
    left, top = (picture.width - scale * width) / 2, (picture.height - scale * height) / 2
    box = (left, top, picture.width - left, picture.height - top)
    return picture.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)


def decode_images(
    contents: Sequence[Callable[[], Content]],
    pixels: NDArray[np.uint8],
    on_done: Callable[[int], object] = lambda n_done: None,
    tones: Tones = AS_USUAL,
    rows: Sequence[int] | None = None,
) -> dict[int, Seen | str]:
    """What each image says about tones, or why it could not be decoded, by its row; the others are in `pixels`.

    Args:
        contents: gives the files, called once each from several threads.
        pixels: uint8 `[n, height, width, channels]` to write into.
        on_done: told the number of images so far.
        tones: of all of them.
        rows: the row of each in `pixels`; None for 0, 1, ...
    """
    _, height, width, channels = pixels.shape
    rows = range(len(contents)) if rows is None else rows

    def decode(number: int) -> Seen | str:
        try:
            pixels[rows[number]], seen = decode_and_look(contents[number](), (height, width), channels, tones)
        except InvalidDataError as error:
            return str(error)
        return seen

    found: dict[int, Seen | str] = {}
    with quiet_decoders(), ThreadPoolExecutor(min(MAX_WORKERS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(contents), CHUNK):
            numbers = range(start, min(start + CHUNK, len(contents)))
            found |= {rows[number]: seen for number, seen in zip(numbers, pool.map(decode, numbers), strict=True)}
            on_done(numbers.stop)
    return found


@contextmanager
def quiet_decoders() -> Iterator[Any]:
    """Keeps remarks of Pillow about odd files off the terminal; to be entered around threads, never in one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield
