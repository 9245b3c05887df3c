"""The subset ledger: random subsets of the train examples, and what models retrained on them say.

Columns of its tables for those who write it, and the same numbers as arrays for those who read it, whether from a
published run or from the working store of a build.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trak_core.store.arrow import from_arrow_lists

Columns = dict[str, Any]


class Reader(Protocol):
    """What answers queries: a published run or a working store."""

    def columns(self, query: str, params: list[Any], /) -> Mapping[str, Any]:
        """All rows of a query as numpy columns."""

    def arrow(self, query: str, params: list[Any], /) -> Any:
        """All rows of a query as an Arrow table."""


def pack_masks(masks: Iterable[NDArray[np.bool_]]) -> list[bytes]:
    """One blob a subset, `numpy.packbits` of bool `[n_train]`."""
    return [np.packbits(mask).tobytes() for mask in masks]


def unpack_masks(blobs: Iterable[bytes], n_train: int) -> NDArray[np.bool_]:
    """Bool `[n_subsets, n_train]` from the blobs of `pack_masks`; no rows where there are none."""
    packed = np.frombuffer(b"".join(bytes(blob) for blob in blobs), dtype=np.uint8)
    return np.unpackbits(packed.reshape(-1, (n_train + 7) // 8), axis=1)[:, :n_train].astype(bool)


# --- columns to write ---------------------------------------------------------------------------------------


def subset_columns(masks: NDArray[np.bool_], roles: Sequence[str], first: int = 0) -> Columns:
    """Columns of the table `subsets`: their members, bool `[n_subsets, n_train]`, and their roles, "fit" or "eval".

    `first` is the subset_id of the first of them.
    """
    return {"subset_id": np.arange(first, first + len(masks)), "role": list(roles), "mask": pack_masks(masks)}


def outcome_columns(subset_ids: Sequence[int], model_outputs: NDArray[Any]) -> Columns:
    """Columns of the table `outcomes`, from the model outputs for default targets `[n_subsets, n_seeds, n_test]`."""
    return {**_outcome_keys(subset_ids, model_outputs.shape), "model_output": model_outputs.ravel()}


def target_outcome_columns(subset_ids: Sequence[int], model_outputs: NDArray[Any], by_seed: bool = False) -> Columns:
    """Columns of the table `target_outcomes`, means over seeds, or of `target_outcomes_by_seed`.

    `model_outputs` are those for the targets 1, 2, ... of each test example `[n_subsets, n_seeds, n_test, n_targets]`.
    """
    outputs = model_outputs if by_seed else model_outputs.mean(1, keepdims=True)
    columns = _outcome_keys(subset_ids, outputs.shape[:3])
    if not by_seed:
        del columns["seed"]
    return {**columns, "model_outputs": outputs.reshape(-1, outputs.shape[-1])}


def _outcome_keys(subset_ids: Sequence[int], shape: tuple[int, ...]) -> Columns:
    subset, seed, test_idx = (axis.ravel() for axis in np.indices(shape))
    return {"subset_id": np.asarray(subset_ids, dtype=np.int64)[subset], "seed": seed, "test_idx": test_idx}


# --- arrays to read -----------------------------------------------------------------------------------------


def read_masks(reader: Reader, role: str, n_train: int) -> NDArray[np.bool_]:
    """Members of the subsets of a role ("fit" or "eval"), bool `[n_subsets, n_train]`, by subset_id."""
    blobs = reader.columns("SELECT mask FROM subsets WHERE role = ? ORDER BY subset_id", [role])["mask"]
    return unpack_masks(blobs, n_train)


def read_outcomes(reader: Reader, role: str, n_seeds: int, n_test: int) -> NDArray[np.float64]:
    """Model outputs for default targets after retraining: `[n_subsets, n_seeds, n_test]`, by subset_id and seed."""
    column = reader.columns(
        "SELECT model_output FROM outcomes JOIN subsets USING (subset_id) WHERE role = ? "
        "ORDER BY subset_id, seed, test_idx",
        [role],
    )["model_output"]
    return np.asarray(column, dtype=np.float64).reshape(-1, n_seeds, n_test)


def read_target_outcomes(
    reader: Reader, role: str, test_idx: NDArray[np.int64], target: NDArray[np.int64], by_seed: bool = False
) -> NDArray[np.float64]:
    """Model outputs for further targets after retraining, averaged over seeds: `[n_subsets, n_pairs]`, by subset_id.

    Pairs are of test_idx and target, from 1, both `[n_pairs]`, at least one. What lies between the first test example
    and the last is read. With `by_seed` the outputs of each seed are given: `[n_subsets * n_seeds, n_pairs]`.
    """
    table, order = ("target_outcomes_by_seed", "subset_id, seed") if by_seed else ("target_outcomes", "subset_id")
    first, last = int(test_idx.min()), int(test_idx.max())
    flat, starts = from_arrow_lists(
        reader.arrow(
            f"SELECT model_outputs FROM {table} JOIN subsets USING (subset_id) "
            f"WHERE role = ? AND test_idx BETWEEN ? AND ? ORDER BY {order}, test_idx",
            [role, first, last],
        ),
        "model_outputs",
    )
    rows = np.arange(0, len(starts), last - first + 1)[:, None] + test_idx[None] - first
    return np.asarray(flat[starts[rows] + target - 1], dtype=np.float64)
