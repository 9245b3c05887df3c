"""Both ends of scores as a table for people."""

import operator
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.store.ranking import Side, strongest


def top_table(blocks: Iterator[NDArray[np.float32]], side: Side, k: int) -> pd.DataFrame:
    """The `k` train examples at one end of the scores of each test example.

    Args:
        blocks: scores of test examples in order, `[n_block, n_train]` each.
        side: "proponent" for the highest scores, "opponent" for the lowest.
        k: train examples for each test example; all of them where there are fewer.

    Returns:
        A table with the columns test_idx, rank (from 1), train_idx, score. Equal scores are ordered by train_idx.

    Raises:
        InvalidSettingError: `k` is less than 1.
    """
    if operator.index(k) < 1:
        raise InvalidSettingError(f"k={k}; ask for at least 1 train example.")
    tables, start = [], 0
    for scores in blocks:
        order = strongest(scores, side, min(k, scores.shape[1]))
        n, kept = order.shape
        columns = {
            "test_idx": np.repeat(np.arange(start, start + n), kept),
            "rank": np.tile(np.arange(1, kept + 1), n),
            "train_idx": order.reshape(-1),
            "score": np.take_along_axis(scores, order, axis=1).reshape(-1),
        }
        tables.append(pd.DataFrame(columns))
        start += n
    return pd.concat(tables, ignore_index=True)
