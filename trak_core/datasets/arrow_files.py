"""Columns of Parquet files and of Arrow streams, read by pyarrow and checked."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trak_core.datasets.rows import Example, Rows, find_column
from trak_core.datasets.sources import tidy
from trak_core.datasets.text_files import file_errors
from trak_core.errors import EmptyDataError, InvalidDataError

PARQUET = (".parquet", ".pq")


def read_schema(path: Path) -> pa.Schema:
    """The schema of a file: Parquet where its ending says so, and an Arrow stream otherwise.

    Raises:
        InvalidDataError: the file is not there, of another kind, or damaged.
    """
    with arrow_errors(path):
        if path.suffix.lower() in PARQUET:
            return pq.read_schema(path)
        return pa.ipc.open_stream(pa.memory_map(str(path))).schema


def read_columns(path: Path, columns: Sequence[str]) -> list[pa.ChunkedArray]:
    """Columns of a file, checked; Arrow leaves them on the disk where it can.

    Raises:
        InvalidDataError: the file lacks one of them or has two, or is damaged.
    """
    names = read_schema(path).names
    for column in columns:
        find_column(column, names, str(path))
    with arrow_errors(path):
        if path.suffix.lower() in PARQUET:
            with pq.ParquetFile(path) as file:
                table = file.read(columns=list(columns))
        else:
            table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        found = [table.column(column) for column in columns]
        for column in found:
            column.validate(full=True)
        return found


def read_parquet_rows(path: Path, columns: Sequence[str], advice: str = "") -> Rows:
    """The rows of a Parquet file, with the names of the classes where its schema declares those of the second column.

    `advice` is a sentence on what to do where a column is not there.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the file is no Parquet file, is damaged, or has no such column.
    """
    schema, name = read_schema(path), tidy(path.name)
    for column in columns:
        find_column(column, schema.names, str(path), advice)
    found = read_columns(path, columns)
    notes = [
        f"The column {column!r} of {name} holds bytes, which were read as UTF-8."
        for column, values in zip(columns, found, strict=True)
        if is_bytes(values.type)
    ]
    values = zip(*(values_of(column) for column in found), strict=True)
    items = [
        Example(f"{name}, row {number}", *row, origin=f"{name}:{number}") for number, row in enumerate(values, start=1)
    ]
    if not items:
        raise EmptyDataError(f"{path} has no rows; give a row for each example.")
    declared = class_names(schema).get(columns[1])
    return Rows([*items], tuple(notes), None if declared is None else tuple(declared))


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; bytes as the text that they are in UTF-8, and as bytes where they are none."""
    values = column.to_pylist()
    return [_decoded(value) for value in values] if is_bytes(column.type) else values


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds bytes, as some programs write texts."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes of columns that the library `datasets` declares as such in the metadata of a schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        declared = {name: feature for name, feature in features.items() if feature["_type"] == "ClassLabel"}
        return {name: [str(one) for one in feature["names"]] for name, feature in declared.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def preview(path: Path, n_rows: int) -> tuple[list[str], list[list[Any]]]:
    """The names of the columns of a file, and its first rows.

    Raises:
        InvalidDataError: the file is not there, of another kind, or damaged.
    """
    names = list(read_schema(path).names)
    with arrow_errors(path):
        if path.suffix.lower() in PARQUET:
            with pq.ParquetFile(path) as file:
                batches = list(islice(file.iter_batches(batch_size=n_rows), 1))
        else:
            stream = pa.ipc.open_stream(pa.memory_map(str(path)))
            batches = [batch.slice(0, n_rows) for batch in islice(stream, 1)]
        columns = [values_of(pa.chunked_array([column])) for batch in batches for column in batch.columns]
    return names, [list(row) for row in zip(*columns, strict=True)]


@contextmanager
def arrow_errors(path: Path) -> Iterator[None]:
    """Tells in one sentence what goes wrong while a file of columns is read.

    Raises:
        InvalidDataError: the file is not there, of another kind, or damaged.
    """
    with file_errors(path):
        try:
            yield
        except (pa.ArrowException, UnicodeDecodeError) as error:
            reason = str(error).partition("\n")[0].rstrip(" .")
            raise InvalidDataError(f"{path} cannot be read ({reason}); fetch or save it anew.") from error
