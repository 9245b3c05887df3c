"""The two ends of a row of scores: the one rule for who is a proponent, who an opponent, and in which order."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDES", "Side", "strongest"]

Side = Literal["proponent", "opponent"]
SIDES: tuple[Side, Side] = ("proponent", "opponent")


def strongest(scores: NDArray[Any], side: Side, k: int) -> NDArray[np.int64]:
    """Numbers of the `k` train examples at one end of scores `[..., n_train]`, strongest first: `[..., k]`.

    Proponents are the highest scores, opponents the lowest; equal scores are ordered by number.
    """
    sign = -1 if side == "proponent" else 1
    return np.argsort(sign * scores, axis=-1, kind="stable")[..., :k]
