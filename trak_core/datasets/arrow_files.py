"""Columns of Parquet files and of Arrow streams, read by pyarrow and checked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trak_core.datasets.rows import Example, Rows, find_column
from trak_core.datasets.text_files import file_errors
from trak_core.errors import EmptyDataError, InvalidDataError

PARQUET = (".parquet", ".pq")


def read_schema(path: Path) -> pa.Schema:
    """The schema of a file: Parquet where its ending says so, and an Arrow stream otherwise.

    Raises:
        InvalidDataError: the file is not there, of another kind, or damaged.
    """
    with _arrow_errors(path):
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
    with _arrow_errors(path):
        if path.suffix.lower() in PARQUET:
            with pq.ParquetFile(path) as file:
                table = file.read(columns=list(columns))
        else:
            table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        found = [table.column(column) for column in columns]
        for column in found:
            column.validate(full=True)
        return found


def read_parquet_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The rows of a Parquet file.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the file is no Parquet file, is damaged, or has no such column.
    """
    values = zip(*(column.to_pylist() for column in read_columns(path, columns)), strict=True)
    items = [
        Example(f"{path.name}, row {number}", *row, origin=f"{path.name}:{number}")
        for number, row in enumerate(values, start=1)
    ]
    if not items:
        raise EmptyDataError(f"{path} has no rows; give a row for each example.")
    return Rows([*items])


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    with file_errors(path):
        try:
            yield
        except (pa.ArrowException, UnicodeDecodeError) as error:
            reason = str(error).partition("\n")[0].rstrip(" .")
            raise InvalidDataError(f"{path} cannot be read ({reason}); fetch or save it anew.") from error
