"""Uploaded bytes as a grey picture: every kind of file is read right or refused in one sentence, in little memory.

The size is read off the header and checked before a pixel is decoded, so that a small file that would unpack to
gigabytes is refused unopened.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from trak_core.errors import InvalidDataError

__all__ = ["MAX_BYTES", "MAX_PIXELS", "GreyPicture", "read_grey"]

MAX_BYTES = 10 * 2**20
MAX_PIXELS = 20_000_000
"""More than this would need over 200 MB to decode: four bytes a pixel, and a copy."""
WORKING_PIXELS = 256
"""The longer side of what is looked at closely; anything larger is reduced to it."""
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
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
_ALLOWED = "a PNG, JPEG, GIF, WebP, BMP or TIFF"


@dataclass(frozen=True)
class GreyPicture:
    """A picture, ready to be looked at.

    Attributes:
        tones: float32 `[height, width]`, 0 black to 1 white; the longer side has at most 256 pixels, unless the
            picture has the small size that data has.
        steps: what was done to the file, a sentence each.
    """

    tones: NDArray[np.float32]
    steps: tuple[str, ...]


def read_grey(content: bytes) -> GreyPicture:
    """The picture in a file that somebody gave.

    Args:
        content: of the file, whatever it is.

    Raises:
        InvalidDataError: the file is empty, too large, no image, damaged, or of a kind that is not read.
    """
    _check_bytes(content)
    steps: list[str] = []
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(*image.size)
            if (n_frames := int(getattr(image, "n_frames", 1))) > 1:
                steps.append(f"The file has {n_frames} pictures; this is the first.")
                image.seek(0)
            return GreyPicture(_tones(image, steps), tuple(steps))
    except InvalidDataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels("far") from error
    except MemoryError as error:
        raise InvalidDataError("there is not enough memory to open this image; make it smaller.") from error
    except UnidentifiedImageError as error:
        raise InvalidDataError(f"this file is no image that can be read; give {_ALLOWED}.") from error
    except Exception as error:  # decoders raise all sorts of things at damaged files
        raise InvalidDataError(
            f"this image is damaged or cut off ({type(error).__name__}); save it anew as a PNG or JPEG."
        ) from error


def _check_bytes(content: bytes) -> None:
    if not content:
        raise InvalidDataError(f"this file is empty; give {_ALLOWED}.")
    if len(content) > MAX_BYTES:
        raise InvalidDataError(
            f"this file has {len(content) / 2**20:.0f} MB, and at most {MAX_BYTES // 2**20} MB are read; make the "
            "image smaller."
        )
    beginning = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if beginning.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        raise InvalidDataError("this is an SVG drawing, which is not read; export it as a PNG.")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(f"{width:,} x {height:,} pixels, {width * height / 1e6:,.0f} million, which is")


def _too_many_pixels(how_many: str) -> InvalidDataError:
    return InvalidDataError(
        f"this image has {how_many} more than the {MAX_PIXELS // 1_000_000} million pixels that are read; make it "
        "smaller."
    )


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
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if turn is not None:
        picture = picture.transpose(turn)
        steps.append("Turned upright, as the camera noted.")
    if picture.mode in ("LA", "RGBA"):
        return _on_ground(picture, steps)
    return np.asarray(np.asarray(picture.convert("L")) / 255, dtype=np.float32)


def _plain_mode(picture: Image.Image, steps: list[str]) -> Image.Image:
    """Other ways to store a pixel, CMYK and more than 8 bits among them, as 8-bit grey or RGB."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(_reduced(picture), dtype=np.float32)
        if not np.isfinite(values).all():
            raise InvalidDataError("this image has pixels that are no numbers; save it anew as a PNG.")
        low, high = float(values.min()), float(values.max())
        # 16 bits have a fixed range; for wider numbers nobody says what white is, so it is the largest.
        low, high = (0.0, 65535.0) if picture.mode.startswith("I;16") or 255 < high <= 65535 else (min(low, 0.0), high)
        steps.append("Tones brought from 16 bits or more to 8.")
        return Image.fromarray((255 * (values - low) / max(high - low, 1e-9)).clip(0, 255).astype(np.uint8))
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
