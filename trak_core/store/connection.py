"""Opens, reads and writes DuckDB files, and turns what DuckDB says of a bad one into one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from trak_core.errors import StorageError, StoreDamagedError, StoreVersionError
from trak_core.store.files import storage_errors

_OF_THE_FILE = (
    duckdb.IOException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.SerializationException,
    duckdb.TransactionException,
)
_OF_THE_DISK = ("No space left", "File too large", "quota", "Read-only", "Permission denied", "Could not write")


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
        connection.execute(f"ATTACH '{quoted(store)}' AS store (READ_ONLY)")
        # What pages ask for takes a millisecond or two; handing it to other threads costs more than it saves.
        connection.execute("SET threads = 1")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise unreadable(store, error) from error
    return connection


def quoted(path: Path) -> str:
    """The path inside an SQL string literal; ATTACH and COPY take no parameters."""
    return str(path).replace("'", "''")


def open_quietly(path: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A connection that may write to a database, or has one in memory, and draws no progress bars over our own."""
    connection = duckdb.connect(":memory:" if path is None else str(path))
    connection.execute("SET enable_progress_bar = false")
    return connection


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Everything that is written inside, or nothing of it."""
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has rolled back already; the first error is to be reported
            connection.execute("ROLLBACK")
        raise


def append_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Adds rows to a table, whose name comes from this package; columns that are not given become NULL."""
    connection.register("block_rows", rows)
    connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM block_rows")
    connection.unregister("block_rows")


@contextmanager
def database_errors(path: Path, if_full: str, if_damaged: str) -> Iterator[None]:
    """Turns what DuckDB and the system say of a bad disk or file into one sentence, with what to do in either case."""
    try:
        with storage_errors(path):
            yield
    except duckdb.Error as error:
        text = str(error).splitlines()[0]
        if "Could not set lock" in text:
            raise StorageError(
                f"{path} is in use by another process ({text}); wait for it or close it, then try again. Nothing that "
                "was finished is lost."
            ) from error
        if is_disk_trouble(error):
            raise StorageError(f"cannot write {path} ({text}); {if_full}") from error
        if is_damage(error):
            raise StoreDamagedError(f"{path} is damaged ({text}); {if_damaged}") from error
        raise


def is_damage(error: duckdb.Error) -> bool:
    """True when an error tells of the file rather than of the query; a failed checksum comes as the bare base class."""
    return type(error) is duckdb.Error or isinstance(error, _OF_THE_FILE)


def is_disk_trouble(error: duckdb.Error) -> bool:
    """True when an error tells of the disk rather than of what is on it: full, read-only, or not ours."""
    return any(sign in str(error) for sign in _OF_THE_DISK)


def unreadable(store: Path, error: duckdb.Error) -> StoreDamagedError | StoreVersionError:
    """What to say of a published store that cannot be read."""
    text = str(error).splitlines()[0]
    if "version" in text and "newer" in text:
        return StoreVersionError(f"{store} was written by a newer DuckDB ({text}); update this program to open it.")
    return StoreDamagedError(
        f"{store} is damaged and cannot be read ({text}); restore it from a copy, or delete the run's folder and give "
        "its build command again."
    )
