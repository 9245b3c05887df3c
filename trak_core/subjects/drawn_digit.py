"""A drawing or photo of a digit, brought to the look of the digits data.

The data are scans of digits cut out close, drawn to one size and averaged over blocks to 8 x 8 levels of ink: every
digit is as high as the image, and ink covers about three tenths of it. A picture of somebody's own is brought there in
the same way; the width of its stroke is changed to fit, because the model has seen no other.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from trak_core.errors import InvalidDataError
from trak_core.modalities.image.grey_picture import GreyPicture, read_grey

SIDE = 8
LEVELS = 16
FINE = 128
"""The side of the square on which strokes are drawn before they are averaged to 8 x 8."""
USUAL_INK = 0.305
"""Share of ink in the data: the median over images; 8 of 10 have between .26 and .35."""
LEAST_CONTRAST = 0.1
SPECK = 0.02
"""A part with less than this share of all ink is a speck."""


@dataclass(frozen=True)
class DigitImage:
    """A digit as the model sees it."""

    ink: NDArray[np.float32]  # float32 `[8, 8]`, 0 paper to 1 full ink, in steps of 1/16 as the data
    steps: tuple[str, ...]  # what was done to the picture, a sentence each


def read_digit(content: bytes) -> DigitImage:
    """The digit in an image file.

    Raises:
        InvalidDataError: the file cannot be read, or there is nothing on it.
    """
    picture = read_grey(content)
    steps = list(picture.steps)
    small = _already_small(picture)
    tones = picture.tones if small is None else small
    light, dark = (float(value) for value in np.percentile(tones, (99.5, 0.5)))
    if light - dark < LEAST_CONTRAST:
        raise InvalidDataError("there is nothing on this image: it has one tone throughout. Draw one digit, large.")
    dark_ground = _ground_is_dark(tones)
    steps.append(
        "Light strokes on a dark ground were inverted."
        if dark_ground
        else "Dark strokes on a light ground, as in the data."
    )
    ink = tones if dark_ground else 1 - tones
    if small is not None:
        steps.append("It has the 8 × 8 pixels of the data already, and was taken as it is.")  # noqa: RUF001
        return DigitImage(_levels(ink), tuple(steps))
    stroke, n_specks = _without_specks(_stroke(ink))
    if n_specks:
        steps.append(f"{n_specks} small speck{'s' if n_specks > 1 else ''} removed.")
    fine, change = _with_usual_ink(stroke)
    steps.append("Cut out around the stroke, drawn to full height and centred.")
    if abs(change) > 1:
        steps.append(f"The stroke was made {'thicker' if change > 0 else 'thinner'}, as the data have it.")
    steps.append("Averaged to 8 × 8 pixels of 17 levels of ink.")  # noqa: RUF001
    block = FINE // SIDE
    return DigitImage(_levels(fine.reshape(SIDE, block, SIDE, block).mean((1, 3))), tuple(steps))


def _levels(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((ink.clip(0, 1) * LEVELS).round() / LEVELS, dtype=np.float32)


def _already_small(picture: GreyPicture) -> NDArray[np.float32] | None:
    """Tones `[8, 8]` of a picture that is 8 x 8, or 8 x 8 enlarged without smoothing; None for any other."""
    height, width = picture.tones.shape
    if height != width or height % SIDE:
        return None
    block = height // SIDE
    blocks = picture.tones.reshape(SIDE, block, SIDE, block)
    means = blocks.mean((1, 3))
    is_even = float(np.abs(blocks - means[:, None, :, None]).max()) < 0.02
    has_shades = len(np.unique(means.round(2))) > 2 or block == 1  # two tones in blocks may be a drawing in pixels
    return np.asarray(means, dtype=np.float32) if is_even and has_shades else None


def _ground_is_dark(tones: NDArray[np.float32]) -> bool:
    """True when most of the border is nearer to the dark end than to the light one."""
    border = np.concatenate([tones[0], tones[-1], tones[1:-1, 0], tones[1:-1, -1]])
    return float(np.median(border)) < _otsu(tones)


def _stroke(ink: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the stroke is, bool `[height, width]`: what stands out from the ground around it, whatever the light."""
    size = max(3, max(ink.shape) // 3)
    # Uneven light: the ground is the least ink within reach, smoothed; a photographed sheet has shades of its own.
    ground = ndimage.gaussian_filter(ndimage.minimum_filter(ndimage.uniform_filter(ink, 3), size), size / 4)
    raised = ink - ground
    return np.asarray(raised > _otsu(raised))


def _otsu(values: NDArray[np.float32]) -> float:
    """The threshold that parts the values into two groups of least variance (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = counts.cumsum(), counts[::-1].cumsum()[::-1]
    sums = (counts * centres).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_below, mean_above = sums / below, (sums[-1] - sums) / (above - counts)
        between = below * (above - counts) * (mean_below - mean_above) ** 2
    between = np.nan_to_num(between[:-1])
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:-1][best].mean())


def _without_specks(stroke: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """The stroke without its smallest parts, and their number."""
    parts, n_parts = ndimage.label(stroke, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=n_parts + 1)[1:]
    kept = sizes >= SPECK * sizes.sum()
    if not kept.any():
        return stroke, 0
    return np.isin(parts, 1 + np.flatnonzero(kept)), int((~kept).sum())


def _with_usual_ink(stroke: NDArray[np.bool_]) -> tuple[NDArray[np.float32], int]:
    """The stroke cut out and drawn to `[128, 128]` with as much ink as data have, and by how much it was widened."""
    large = _fitted(_cut_out(stroke), FINE) > 0.5
    if not large.any():
        raise InvalidDataError("the stroke on this image is too thin to be seen; draw one digit, large and bold.")
    margin = FINE // 4
    framed = np.pad(large, margin)
    inside = ndimage.distance_transform_edt(framed)
    distance = ndimage.distance_transform_edt(~framed) - inside

    def drawn(change: int) -> NDArray[np.float32]:
        return _fitted(_cut_out(distance <= change), FINE)

    # Something must stay: a stroke thinned further falls apart.
    changes = range(-int(0.7 * float(inside.max())), margin)
    at = bisect_left(changes, USUAL_INK, key=lambda change: float(drawn(change).mean()))
    near = changes[max(0, at - 1) : at + 1] or changes[-1:]
    best = min(near, key=lambda change: abs(float(drawn(change).mean()) - USUAL_INK))
    return drawn(best), best


def _cut_out(stroke: NDArray[np.bool_]) -> NDArray[np.bool_]:
    (box,) = ndimage.find_objects(stroke.astype(np.uint8))
    return np.asarray(stroke[box])


def _fitted(stroke: NDArray[np.bool_], side: int) -> NDArray[np.float32]:
    """Drawn as large as fits into `[side, side]` in its own proportions, and centred: float32, 0 to 1."""
    height, width = stroke.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    drawn = Image.fromarray(stroke.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    canvas = Image.new("L", (side, side))
    canvas.paste(drawn, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(np.asarray(canvas) / 255, dtype=np.float32)
