"""Scores that come in blocks of test examples: whole, or the strongest of them as a table."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.errors import OutOfMemoryError
from trak_core.store.ranking import Side, strongest


def strongest_table(blocks: Iterable[NDArray[Any]], side: Side, k: int) -> pd.DataFrame:
    """The `k` train examples at one end of the scores of each test example, a row each.

    Args:
        blocks: of scores `[n_block, n_train]`, in the order of the test examples.
        side: which end.
        k: how many, at least 1.

    Returns:
        A table with the columns test_idx, rank (from 1), train_idx, score.
    """
    orders, values = [], []
    for scores in blocks:
        orders.append(strongest(scores, side, k))
        values.append(np.take_along_axis(scores, orders[-1], axis=1))
    order, score = np.concatenate(orders), np.concatenate(values)
    test_idx, rank = np.indices(order.shape)
    columns = {"test_idx": test_idx.ravel(), "rank": rank.ravel() + 1, "train_idx": order.ravel()}
    return pd.DataFrame({**columns, "score": score.ravel()})


def whole_matrix(
    blocks: Iterable[NDArray[np.float32]], n_test: int | None, n_train: int, budget: int
) -> NDArray[np.float32]:
    """Scores `[n_test, n_train]` of blocks; `n_test` is None where only reading tells.

    Raises:
        OutOfMemoryError: they take more than the memory budget.
    """
    if n_test is None:
        found: list[NDArray[np.float32]] = []
        for block in blocks:
            found.append(block)
            _check_size(2 * sum(map(len, found)), n_train, budget)
        return np.concatenate(found)
    _check_size(n_test, n_train, budget)
    scores, at = np.empty((n_test, n_train), dtype=np.float32), 0
    for block in blocks:
        scores[at : at + len(block)] = block
        at += len(block)
    return scores


def _check_size(n_test: int, n_train: int, budget: int) -> None:
    if (size := n_test * n_train * 4) > budget:
        raise OutOfMemoryError(
            f"scores of {n_test:,} test and {n_train:,} train examples take {size / 1e6:,.0f} MB, more than "
            f"memory_budget={budget:,}. Use proponents(), opponents() or iter_scores(), or raise the budget."
        )
