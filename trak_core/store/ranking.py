"""The two ends of a row of scores: the one rule for who is a proponent, who an opponent, and in which order."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["proponent", "opponent"]
SIDES: tuple[Side, Side] = ("proponent", "opponent")


def strongest(scores: NDArray[Any], side: Side, k: int) -> NDArray[np.int64]:
    """Numbers of the `k` train examples at one end of scores `[..., n_train]`, strongest first: `[..., k]`.

    Proponents are the highest scores, opponents the lowest; equal scores are ordered by number.
    """
    signed = -scores if side == "proponent" else np.asarray(scores)
    order = np.empty((*signed.shape[:-1], min(k, signed.shape[-1])), dtype=np.int64)
    for place in np.ndindex(signed.shape[:-1]):
        order[place] = _lowest(signed[place], order.shape[-1])
    return order


def _lowest(row: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Numbers of the `k` lowest of a row, lowest first, as a stable sort of the whole row would give them."""
    # Sorting 50,000 scores takes most of a click; only those up to the k-th lowest, ties with it included, need it.
    candidates = np.arange(len(row))
    if 0 < k < len(row):
        bound = np.partition(row, k - 1)[k - 1]
        if not np.isnan(bound):
            candidates = np.flatnonzero(row <= bound)
    return candidates[np.argsort(row[candidates], kind="stable")[:k]]
