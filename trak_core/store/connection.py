"""Opens a store for reading, and turns what DuckDB says of a bad one into one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb

from trak_core.errors import StoreDamagedError, StoreVersionError

Result = TypeVar("Result")
_OF_THE_FILE = (
    duckdb.IOException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.SerializationException,
    duckdb.TransactionException,
)


def attach(store: Path) -> duckdb.DuckDBPyConnection:
    """A connection that sees one store, read-only and named `store`, and nothing else.

    An in-memory database with the store attached, rather than the store opened itself: DuckDB hands the same open
    database to everybody in a process who opens one path, so a replaced file would stay invisible.

    Raises:
        StoreDamagedError: the file is no store.
        StoreVersionError: a newer DuckDB wrote it.
    """
    connection = duckdb.connect(":memory:")
    try:
        path = str(store).replace("'", "''")  # ATTACH takes no parameters
        connection.execute(f"ATTACH '{path}' AS store (READ_ONLY)")
        # What pages ask for takes a millisecond or two; handing it to other threads costs more than it saves.
        connection.execute("SET threads = 1")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise _unreadable(store, error) from error
    return connection


def open_quietly(path: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A connection that may write to a database, or has one in memory, and draws no progress bars over our own."""
    connection = duckdb.connect(":memory:" if path is None else str(path))
    connection.execute("SET enable_progress_bar = false")
    return connection


def reading(store: Path, fetch: Callable[[], Result]) -> Result:
    """What `fetch` returns; errors that mean a damaged file become StoreDamagedError, others stay as they are."""
    try:
        return fetch()
    except duckdb.Error as error:
        if is_damage(error):
            raise _unreadable(store, error) from error
        raise


def is_damage(error: duckdb.Error) -> bool:
    """True when an error tells of the file rather than of the query; a failed checksum comes as the bare base class."""
    return type(error) is duckdb.Error or isinstance(error, _OF_THE_FILE)


_DISK = ("No space left", "File too large", "quota", "Read-only", "Permission denied", "Could not write")


def is_disk_trouble(error: duckdb.Error) -> bool:
    """True when an error tells of the disk rather than of what is on it: full, read-only, or not ours."""
    return any(sign in str(error) for sign in _DISK)


def _unreadable(store: Path, error: duckdb.Error) -> StoreDamagedError | StoreVersionError:
    text = str(error).splitlines()[0]
    if "version" in text and "newer" in text:
        return StoreVersionError(f"{store} was written by a newer DuckDB ({text}); update this program to open it.")
    return StoreDamagedError(
        f"{store} is damaged and cannot be read ({text}); restore it from a copy, or delete the run's folder and give "
        "its build command again."
    )
