"""Rows of the `class_influence` table: what every train example does to a whole class of test examples.

Group questions are sums over these rows: the influence of any set of train examples on a class is the sum of their
entries, and the class by class matrix adds them up by the label of the train example. So no page reads all scores.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

TESTS_AT_ONCE = 64


def class_influence_columns(
    method: str, test_labels: NDArray[np.int64], rows_of: Callable[[NDArray[np.int64]], NDArray[np.float32]]
) -> dict[str, NDArray[Any]]:
    """Columns of the `class_influence` table: mean scores over the test examples of each class that has any.

    Args:
        method: that made the scores.
        test_labels: `[n_test]`.
        rows_of: gives the scores `[n, n_train]` of some test examples, rising numbers `[n]`; asked for a few at a time,
            so that scores that are too big for memory can be read from a store.
    """
    classes = np.unique(test_labels)
    return {
        "method": np.repeat(method, len(classes)),
        "test_class": classes,
        "values": np.stack([_mean_row(np.flatnonzero(test_labels == label), rows_of) for label in classes]),
    }


def _mean_row(
    test_idx: NDArray[np.int64], rows_of: Callable[[NDArray[np.int64]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    starts = range(0, len(test_idx), TESTS_AT_ONCE)
    sums = [rows_of(test_idx[start : start + TESTS_AT_ONCE]).sum(0, dtype=np.float64) for start in starts]
    return np.asarray(np.sum(sums, axis=0) / len(test_idx), dtype=np.float32)
