"""Rows of JSON and Parquet files, read by DuckDB in memory; it can open that one file and nothing else."""

import glob
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from trak_core.datasets.rows import Example, Rows, find_column, refuse_if_most_are_lost
from trak_core.datasets.text_files import file_errors, find_encoding, is_gzip, iter_lines, open_text
from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.modalities.raw import LeftOut

N_FETCHED = 1000
N_SAMPLED = 50
"""Objects that the names of columns are taken from."""
MAX_OBJECT = 2**26
"""Bytes of one JSON object."""


def read_json_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The rows of a file of JSON lines or of one JSON array, packed with gzip or not; each row is an object.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the file is not UTF-8, is a broken array, has no such key, or more than half of its rows
            cannot be read.
    """
    items: list[Example | LeftOut] = []
    keys: dict[str, None] = {}
    for number, (text,) in enumerate(_objects(path), start=1):
        where = f"{path.name}, row {number}"
        record = _parse(text)
        if isinstance(record, dict):
            keys.update(dict.fromkeys(record))
            items.append(Example(where, *(record.get(column) for column in columns)))
        else:
            items.append(LeftOut(where, "it is no JSON object in UTF-8"))
    if not items:
        raise EmptyDataError(f"{path} is empty; give a JSON object for each example.")
    refuse_if_most_are_lost(items, str(path), "give one JSON object a line, or an array of them")
    for column in columns:
        find_column(column, tuple(keys), str(path))
    return Rows(items)


def json_columns(path: Path) -> list[str]:
    """The keys of the first objects of a JSON file, in the order in which they come up.

    Raises:
        InvalidDataError: the file is not UTF-8, or cannot be read.
    """
    keys: dict[str, None] = {}
    for (text,) in islice(_objects(path), N_SAMPLED):
        record = _parse(text)
        if isinstance(record, dict):
            keys.update(dict.fromkeys(record))
    return list(keys)


def _objects(path: Path) -> Iterator[tuple[Any, ...]]:
    """The objects of a JSON file as text, each in a row of its own."""
    # A broken line is NULL and does not end the reading; a broken array does.
    reader = (
        "read_json_objects($path, format = 'array'"
        if _is_array(path)
        else "read_ndjson_objects($path, ignore_errors = true"
    )
    query = f"SELECT json FROM {reader}, compression = $compression, maximum_object_size = $size)"
    yield from _fetch(path, query, {"compression": "gzip" if is_gzip(path) else "none", "size": MAX_OBJECT})


def read_parquet_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The rows of a Parquet file.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the file is no Parquet file, is damaged, or has no such column.
    """
    names = parquet_columns(path)
    for column in columns:
        find_column(column, names, str(path))
    order = [[name for name in names if name in columns].index(column) for column in columns]
    found = _fetch(path, "SELECT COLUMNS($columns) FROM read_parquet($path)", {"columns": list(columns)})
    items: list[Example | LeftOut] = [
        Example(f"{path.name}, row {number}", *(values[place] for place in order))
        for number, values in enumerate(found, start=1)
    ]
    if not items:
        raise EmptyDataError(f"{path} has no rows; give a row for each example.")
    return Rows(items)


def parquet_columns(path: Path) -> list[str]:
    """The names of the columns of a Parquet file.

    Raises:
        InvalidDataError: the file is no Parquet file, or is damaged.
    """
    return [name for (name,) in _fetch(path, "SELECT column_name FROM (DESCRIBE FROM read_parquet($path))", {})]


def _fetch(path: Path, query: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows that a query on the file `$path` finds, in its order.

    Raises:
        InvalidDataError: the file cannot be read.
    """
    with file_errors(path), path.open("rb"):  # says what is the matter with the path itself
        pass
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    try:
        pattern = glob.escape(str(path))  # or [1] in its name would stand for 1
        connection.execute("SET allowed_paths = $paths", {"paths": [str(path), pattern]})
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        found = connection.execute(query, {"path": pattern, **parameters})
        while rows := found.fetchmany(N_FETCHED):
            yield from rows
    except (duckdb.Error, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0].partition("Error: ")[2] or type(error).__name__
        raise InvalidDataError(f"{path} cannot be read ({reason.rstrip(' .')}); check it, or save it anew.") from error
    finally:
        connection.close()


def _parse(text: str | None) -> Any:
    """What a piece of JSON holds; None if that cannot be told."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):  # numbers of thousands of digits, and brackets as deep
        return None


def _is_array(path: Path) -> bool:
    """Whether the first thing in a file of JSON is an array.

    Raises:
        InvalidDataError: the file is not UTF-8.
    """
    encoding = find_encoding(path, None)
    if not encoding.startswith("utf-8"):
        raise InvalidDataError(f"{path} is {encoding.upper()}, and JSON is read as UTF-8; save it anew.")
    with open_text(path, encoding) as text:
        return next((line.lstrip()[0] == "[" for line in iter_lines(text, path) if line.strip()), False)
