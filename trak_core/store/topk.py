"""Rows of the `topk` table: both ends of every row of scores."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.store.ranking import SIDES, strongest
from trak_core.store.schema import TOP_K


def topk_columns(
    by_method: dict[str, NDArray[np.float32]],
    k: int = TOP_K,
    first: int = 0,
    errors: dict[str, NDArray[np.float32]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Columns of the `topk` table; equal scores are ordered by train_idx.

    Args:
        by_method: method to scores `[n_test, n_train]`.
        k: length of each side.
        first: number of the first test example.
        errors: method to standard errors of its scores `[n_test, n_train]`; NULL for methods that have none.
    """
    parts: list[dict[str, NDArray[Any]]] = []
    for method, scores in by_method.items():
        n_test, n_train = scores.shape
        kept = min(k, n_train)
        for side in SIDES:
            order = strongest(scores, side, kept)
            parts.append(
                {
                    "method": np.repeat(method, n_test * kept),
                    "test_idx": np.repeat(np.arange(first, first + n_test), kept),
                    "side": np.repeat(side, n_test * kept),
                    "rank": np.tile(np.arange(1, kept + 1), n_test),
                    "train_idx": order.reshape(-1),
                    "score": np.take_along_axis(scores, order, axis=1).reshape(-1),
                    "standard_error": _errors(method, order, errors or {}),
                }
            )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "standard_error"}
    joined: Any = np.ma.concatenate([part["standard_error"] for part in parts])  # type: ignore[no-untyped-call]
    return {**columns, "standard_error": joined}


def _errors(method: str, order: NDArray[np.int64], errors: dict[str, NDArray[np.float32]]) -> Any:
    """Standard errors in order, masked where there are none: NULL in the store."""
    if method not in errors:
        return np.ma.MaskedArray(np.zeros(order.size, dtype=np.float32), mask=True)
    return np.ma.MaskedArray(np.take_along_axis(errors[method], order, axis=1).reshape(-1))
