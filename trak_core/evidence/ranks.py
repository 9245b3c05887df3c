"""Rank correlation of the rows of two score matrices."""

import numpy as np
from numpy.typing import NDArray


def row_correlations(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rank correlation of every row of two `[n, n_train]`, ties sharing their mean rank; NaN where all is the same."""
    from scipy.stats import rankdata  # here, because the explorer should not wait for scipy before its first page

    # Along rows that lie in one piece, which is several times faster than along columns.
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(side, axis=1) for side in (ours, theirs)))
    lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    products = (a * b).sum(axis=1)
    found = np.full(len(a), np.nan)
    np.divide(products, lengths, out=found, where=lengths > 0)
    return found
