"""Adds to a published run in one step: on a copy of its store, which is checked and then takes its place."""

import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from trak_core.errors import NotInRunError, StoreDamagedError
from trak_core.store.arrow import to_arrow
from trak_core.store.connection import append_rows, database_errors, open_quietly, transaction
from trak_core.store.files import RunFiles, replace_file
from trak_core.store.schema import ORDER_BY
from trak_core.store.writer import build_lock, clear_site

Rows = tuple[str, Mapping[str, Any]]
"""A table, and columns of rows for it."""


@contextmanager
def amending(files: RunFiles) -> Iterator[None]:
    """Holds the right to change a finished run, which nothing else is building or measuring.

    Raises:
        NotInRunError: a build or measurement of it has not finished.
        RunBusyError: another process is building or measuring it.
    """
    with build_lock(files):
        if any(path != files.lock for path in files.build.iterdir()):
            raise NotInRunError(
                f"work on run {files.run_dir.name!r} has not finished; go on with it first (the Home page does), or "
                f"delete the folder {files.build} to give it up."
            )
        try:
            yield
        finally:
            clear_site(files)


def amend(
    files: RunFiles,
    rows: Callable[[], Iterable[Rows]],
    meta: Mapping[str, Any],
    methods: Collection[str],
    tables: Collection[str] = (),
) -> None:
    """Gives a published run other rows of some methods, and of some tables; call it under `amending`.

    Args:
        files: of the run.
        rows: gives the new rows; what the run had of the methods and tables goes.
        meta: facts to set.
        methods: whose rows are replaced in every table that tells methods.
        tables: that are replaced as a whole.

    Raises:
        StorageError: the disk is full, read-only or failing.
        StoreDamagedError: something else came out changed; the run stays as it was.
    """

    def write(temporary: Path) -> None:
        shutil.copyfile(files.store, temporary)
        with _errors(files.store), open_quietly(temporary) as connection:
            before = _contents(connection, methods, tables)
            with transaction(connection):
                for table in ORDER_BY:
                    _remove(connection, table, methods, tables)
                for table, columns in rows():
                    append_rows(connection, table, to_arrow(dict(columns)))
                for key, value in meta.items():
                    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, json.dumps(value)])
            connection.execute("CHECKPOINT")
            if _contents(connection, methods, tables) != before:
                raise StoreDamagedError(
                    f"{files.store} was not changed: other rows than the new ones came out changed."
                )

    replace_file(files.store, write)


def _has_methods(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    query = "SELECT 1 FROM duckdb_columns() WHERE table_name = ? AND column_name = 'method'"
    return connection.execute(query, [table]).fetchone() is not None


def _remove(
    connection: duckdb.DuckDBPyConnection, table: str, methods: Collection[str], tables: Collection[str]
) -> None:
    if table in tables:
        connection.execute(f"DELETE FROM {table}")
    elif _has_methods(connection, table):
        connection.execute(f"DELETE FROM {table} WHERE method IN (SELECT unnest(?::VARCHAR[]))", [list(methods)])


def _contents(
    connection: duckdb.DuckDBPyConnection, methods: Collection[str], tables: Collection[str]
) -> dict[str, Any]:
    """Number of rows and a digest of all that is to stay, by table."""
    found = {}
    for table in ORDER_BY:
        if table == "meta" or table in tables:
            continue
        others = "WHERE method NOT IN (SELECT unnest(?::VARCHAR[]))" if _has_methods(connection, table) else ""
        query = f"SELECT count(*), sum(hash(t)::HUGEINT) FROM {table} t {others}"
        found[table] = connection.execute(query, [list(methods)] if others else []).fetchone()
    return found


def _errors(store: Path) -> Any:
    return database_errors(
        store, "free some space or fix the disk, then give the same command again.", "restore the run from a copy."
    )
