"""How much an example holds, as one number: what a rule goes by that sees nothing of what an example says."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trak_core.media import Medium, Picture, Text

DIGITS = 4
"""Of the brightness of a picture: further ones would say nothing, and take room in a store."""


def amounts(media: Sequence[tuple[Medium, ...]]) -> NDArray[np.float64]:
    """The characters of the texts of each example or, of one without texts, the ink of its pictures: float64 `[n]`."""
    return np.array([_amount(one) for one in media], dtype=np.float64)


def _amount(media: tuple[Medium, ...]) -> float:
    texts = [len(one.text) for one in media if isinstance(one, Text)]
    return float(sum(texts)) if texts else sum(_ink(one.content) for one in media if isinstance(one, Picture))


def _ink(picture: bytes) -> float:
    """The mean brightness of a picture, 0 to 1. Whether ink is dark or light does not matter to a rule."""
    from PIL import Image  # takes a moment to import, and reading a run needs none

    with Image.open(io.BytesIO(picture)) as opened:
        return round(float(np.asarray(opened.convert("L"), dtype=np.float64).mean() / 255), DIGITS)
