"""Between numpy and Arrow, in which DuckDB takes and gives whole columns."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def to_arrow(columns: dict[str, Any]) -> pa.Table:
    """An Arrow table of columns: 1-D arrays and lists as they are, `[n, width]` arrays as fixed-size lists."""
    return pa.table({name: _column(values) for name, values in columns.items()})


def from_arrow_arrays(table: pa.Table, name: str) -> NDArray[np.float32]:
    """Column of fixed-size arrays as one float32 array `[n_rows, width]`."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # an empty table has no chunk to combine
        return np.empty((0, column.type.list_size), dtype=np.float32)
    width = column.type.list_size
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, width)


def from_arrow_lists(table: pa.Table, name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Column of lists of any lengths: all their numbers in one float32 array, and where each row begins `[n_rows]`."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # an empty table has no chunk to combine
        return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
    offsets = np.asarray(column.offsets, dtype=np.int64)
    return np.asarray(column.flatten(), dtype=np.float32), offsets[:-1] - offsets[0]


def _column(values: Any) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 2:
        flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])
    if isinstance(values, np.ma.MaskedArray):
        return pa.array(values.data, mask=np.ma.getmaskarray(values))
    return pa.array(values)
