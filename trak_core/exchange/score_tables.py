"""Scores in tables: a column for each example, or a row for each pair of them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trak_core.errors import EmptyDataError, InvalidDataError

PAIR = ("test_idx", "train_idx", "score")
NAMED = 8
"""Names that a message tells."""
USUAL_NAMES = ("scores", "all_modules")


def choose(path: Path, names: Iterable[str], key: str | None, what: str, usual: Sequence[str] = USUAL_NAMES) -> str:
    """The one that is meant among some names: the key, else the only one, or the only one of a usual name."""
    names = list(names)
    candidates = [name for name in names if name in usual] or names
    if key is None and len(candidates) == 1:
        return candidates[0]
    if key is not None and key in names:
        return key
    shown = ", ".join(map(repr, names[:NAMED])) + (" ..." if len(names) > NAMED else "")
    if not names:
        raise EmptyDataError(f"{path} holds no {what}; save the scores anew.")
    asked = f"no {what} {key!r}, but" if key is not None else f"more than one {what}:"
    raise InvalidDataError(f"{path} holds {asked} {shown}; name one of them with --key.")


def is_long(path: Path) -> bool:
    """True for a table with a row for each pair: it has the columns test_idx, train_idx and score."""
    return set(PAIR) <= set(pq.read_schema(path).names)


def wide_shape(path: Path) -> tuple[int, int]:
    """Rows and columns of a table of numbers; InvalidDataError when a column holds something else."""
    with pq.ParquetFile(path) as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
    for name, kind in zip(schema.names, schema.types, strict=True):
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise InvalidDataError(
                f"{path}: column {name!r} holds {kind} values; give a table of numbers alone, or one with the columns "
                f"{', '.join(PAIR)}."
            )
    return n_rows, len(schema.names)


def read_wide(path: Path) -> NDArray[np.float32]:
    """A table of numbers as `[rows, columns]`; what is missing becomes NaN."""
    n_rows, n_columns = wide_shape(path)
    matrix = np.empty((n_rows, n_columns), dtype=np.float32)
    start = 0
    with pq.ParquetFile(path) as file, np.errstate(over="ignore"):
        for batch in file.iter_batches(batch_size=max(1, (1 << 22) // n_columns)):
            for number, column in enumerate(batch.columns):
                matrix[start : start + len(batch), number] = column.to_numpy(zero_copy_only=False)
            start += len(batch)
    return matrix


def read_long(
    path: Path, n_test: int, n_train: int, method: str | None = None, source: IO[bytes] | None = None
) -> NDArray[np.float32]:
    """Scores `[n_test, n_train]` of a table that holds each pair once, or once for each method where it tells methods.

    Args:
        path: of the Parquet file, and for messages.
        n_test: number of test examples.
        n_train: number of train examples.
        method: which one, where the table tells methods.
        source: the Parquet file itself, where the path is that of another kind of table.

    Raises:
        EmptyDataError: it has no rows.
        InvalidDataError: a row names no pair, a pair is missing or is there twice, or a score is no number.
    """
    scores = np.zeros((n_test, n_train), dtype=np.float32)
    is_seen = np.zeros(n_test * n_train, dtype=bool)
    flat = scores.reshape(-1)
    for rows, batch in _pairs(path, method, source):
        test_idx, train_idx = (
            _numbers(path, rows, batch, name, n) for name, n in (("test_idx", n_test), ("train_idx", n_train))
        )
        values = _scores(path, rows, batch)
        place = test_idx * n_train + train_idx
        _, first = np.unique(place, return_index=True)
        is_repeated = is_seen[place]
        is_repeated[np.setdiff1d(np.arange(len(place)), first)] = True
        if is_repeated.any():
            at = int(is_repeated.argmax())
            raise InvalidDataError(
                f"{path}, row {rows[at]}: the pair of test example {test_idx[at]} and train example {train_idx[at]} is "
                "there a second time; leave one score for each pair."
            )
        is_seen[place] = True
        flat[place] = values
    if not is_seen.all():
        test, train = divmod(int((~is_seen).argmax()), n_train)
        raise InvalidDataError(
            f"{path} has scores of {int(is_seen.sum()):,} pairs, and {n_test:,} test and {n_train:,} train examples "
            f"make {is_seen.size:,}; the first that is missing is test example {test} with train example {train}, so "
            "save all of them, not the strongest alone."
        )
    return scores


def _pairs(
    path: Path, method: str | None, source: IO[bytes] | None
) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch]]:
    """Batches of the rows that are meant, each with the numbers of its rows in the table, from 0."""
    with pq.ParquetFile(source or path) as file:
        has_methods = "method" in file.schema_arrow.names
        if file.metadata.num_rows == 0:
            raise EmptyDataError(f"{path} has no rows; save a row for each pair of examples.")
        if has_methods:
            method = choose(path, _methods(file), method, "method", usual=())
        start = 0
        for batch in file.iter_batches(columns=[*PAIR, *(["method"] if has_methods else [])]):
            rows = np.arange(start, start + len(batch))
            start += len(batch)
            if has_methods:
                is_meant = pc.fill_null(pc.equal(batch.column("method").cast(pa.string()), method), False)
                rows, batch = rows[is_meant.to_numpy(zero_copy_only=False)], batch.filter(is_meant)
            if len(batch):
                yield rows, batch


def _methods(file: pq.ParquetFile) -> list[str]:
    names: dict[str, None] = {}
    for batch in file.iter_batches(columns=["method"]):
        names |= dict.fromkeys(str(name) for name in pc.unique(batch.column("method")).to_pylist())
    return list(names)


def _numbers(path: Path, rows: NDArray[np.int64], batch: pa.RecordBatch, name: str, n: int) -> NDArray[np.int64]:
    """A column of numbers of examples."""
    column = batch.column(name)
    if not pa.types.is_integer(column.type):
        raise InvalidDataError(f"{path}: column {name!r} holds {column.type} values; number examples from 0.")
    values = pc.fill_null(column, -1) if column.null_count else column
    numbers = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.int64)
    is_bad = (numbers < 0) | (numbers >= n)
    _refuse(path, rows, column, is_bad, f"{name} is {{}}, and there are {n:,} such examples, 0 to {n - 1}.")
    return numbers


def _scores(path: Path, rows: NDArray[np.int64], batch: pa.RecordBatch) -> NDArray[np.float32]:
    column = batch.column("score")
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise InvalidDataError(f"{path}: column 'score' holds {column.type} values; scores must be real numbers.")
    with np.errstate(over="ignore"):
        values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32)
    message = "score is {}; scores must be finite 32-bit numbers, so fix what made it."
    _refuse(path, rows, column, ~np.isfinite(values), message)
    return values


def _refuse(path: Path, rows: NDArray[np.int64], column: pa.Array, is_bad: NDArray[np.bool_], message: str) -> None:
    """Refuses the first bad value of a column, with its row and a message that has a place for it."""
    if is_bad.any():
        at = int(is_bad.argmax())
        said = column[at].as_py()
        raise InvalidDataError(f"{path}, row {rows[at]}: {message.format('empty' if said is None else said)}")
