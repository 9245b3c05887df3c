"""How light becomes the 256 tones of a picture: one scale and one ground for all images of a data set.

Files of more than 8 bits a channel say nowhere what is white: 12 bits of a scanner lie in 16, counts in 32, fractions
anywhere. A scale of its own for each file would take away what tells images apart, their brightness. So the train
images decide for all, and what they decided goes into the encoding, for images that come later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WHITE, GREY, BLACK = 255, 128, 0
GROUNDS = (WHITE, BLACK, GREY)
"""What transparent parts may be shown on, the usual one first."""
FAINT = 0.1
"""Contrast with the ground, 0 to 1, below which a picture cannot be told from it."""
FEW_FAINT = 0.01
"""Share of the pictures that may be faint on white before another ground is looked for."""
DARK = 0.1
"""Share of the scale below which half of the images lie before a note says so."""
FIXED_WHITE = 65535.0
"""What 16 bits have as white where there is one file alone, and nothing to compare it with."""


@dataclass(frozen=True)
class Tones:
    """How the tones of all images of a data set come about; as it stands here, those of ordinary 8-bit files."""

    # the values shown as black and as white in files of more than 8 bits; None where each such file has its own scale
    levels: tuple[float, float] | None = None
    ground: int = WHITE  # the tone of transparent parts, 0 to 255


AS_USUAL = Tones()


@dataclass(frozen=True)
class Seen:
    """What one file says about tones."""

    levels: tuple[float, float] | None = None  # its least and largest value, where it has more than 8 bits a channel
    # of what is drawn in it with each of the grounds, 0 to 1; None where nothing in it is transparent
    contrasts: tuple[float, ...] | None = None


def as_bytes(values: NDArray[np.float32], levels: tuple[float, float]) -> NDArray[np.uint8]:
    """Values of any range as tones, from black at the first level to white at the second; `values` is used up."""
    low, high = levels
    # In place: the picture may be large.
    values -= np.float32(low)
    values *= 255
    values /= np.float32(max(high - low, 1e-9))
    return values.clip(0, 255, out=values).astype(np.uint8)


def own_levels(low: float, high: float, is_16_bit: bool) -> tuple[float, float]:
    """Black and white of a file on its own, by its least and its largest value.

    16 bits have a fixed range; for wider numbers nobody says what white is, so it is the largest.
    """
    return (0.0, FIXED_WHITE) if is_16_bit or 255 < high <= FIXED_WHITE else (min(low, 0.0), high)


def contrasts_of(picture: NDArray[np.uint8], channels: int) -> tuple[float, ...] | None:
    """The contrast of what is drawn with each of the grounds, root mean square over what is visible, 0 to 1.

    Args:
        picture: uint8 `[height, width, 4]`: red, green, blue and how opaque.
        channels: 1 where it will be grey, 3 where it will have colours.
    """
    opaque = picture[..., 3] / 255
    if opaque.min() == 1 or opaque.max() == 0:
        return None
    colours = picture[..., :3].astype(np.float64)
    if channels == 1:
        colours = colours @ np.array([[0.299], [0.587], [0.114]])
    away = [(np.abs(colours - ground).max(axis=-1) / 255) ** 2 for ground in GROUNDS]
    return tuple(float(np.sqrt((one * opaque).sum() / opaque.sum())) for one in away)


def tones_for(seen: Sequence[Seen]) -> tuple[Tones, list[str]]:
    """The tones that suit the train images, and what is to be said about them."""
    notes: list[str] = []
    levels = _levels([one.levels for one in seen if one.levels is not None], len(seen), notes)
    return Tones(levels, _ground([one.contrasts for one in seen if one.contrasts is not None], notes)), notes


def _levels(found: Sequence[tuple[float, float]], n_images: int, notes: list[str]) -> tuple[float, float] | None:
    if not found:
        return None
    low, high = min(one[0] for one in found), max(one[1] for one in found)
    if 0 <= low <= high / 2:
        low = 0.0  # black is no light, unless all that tells images apart lies in a narrow band far from it
    which = "The images" if len(found) == n_images else f"{len(found):,} of the {n_images:,} train images"
    notes.append(
        f"{which} have more than 8 bits a channel, and all such images are shown on one scale: {low:,.6g} is black and "
        f"{high:,.6g}, the largest value of the train images, is white."
    )
    middle = float(np.median([one[1] for one in found]))
    if middle - low < DARK * (high - low):
        notes.append(
            f"Half of them have no value above {middle:,.6g}, so that they are nearly black; where larger ones are "
            "faults of a sensor or another scale, take those images out or convert them."
        )
    return low, high


def _ground(found: Sequence[tuple[float, ...]], notes: list[str]) -> int:
    if not found:
        return WHITE
    n_faint = [sum(one[number] < FAINT for one in found) for number in range(len(GROUNDS))]
    if n_faint[0] <= FEW_FAINT * len(found):
        return WHITE
    number = int(np.argmin(n_faint))
    if number > 0:
        name = {BLACK: "black", GREY: "grey"}[GROUNDS[number]]
        notes.append(
            f"Transparent parts are {name}: on white, {n_faint[0]:,} of the {len(found):,} train images that have such "
            "parts could hardly be seen."
        )
    return GROUNDS[number]
