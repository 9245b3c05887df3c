"""Writes a run: block by block into a working store, then published as one whole file.

Readers hold `store.duckdb` open, and DuckDB lets nobody write a file that somebody reads. So a build writes into
`build/working.duckdb`, where each block of work is one transaction together with its entry in the journal: a
process killed at any moment leaves whole blocks only, and the next build goes on after the last of them. Publishing
copies the tables into a fresh file, which then takes the name `store.duckdb` in one step.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import RunBusyError, RunMismatchError
from trak_core.store.arrow import from_arrow_arrays, to_arrow
from trak_core.store.connection import append_rows, database_errors, open_quietly, quoted, transaction
from trak_core.store.differences import what_differs
from trak_core.store.files import RunFiles, held, replace_file, storage_errors
from trak_core.store.schema import EVIDENCE_TABLES, ORDER_BY, SCHEMA_VERSION, WORKING_TABLES, Shape, create_tables

LOCK_PATIENCE_SECONDS = 3.0
"""Longer than a reader's glance at the lock, shorter than a person's patience."""


@contextmanager
def build_lock(files: RunFiles) -> Iterator[None]:
    """Holds the right to build a run; a killed process loses it at once.

    Raises:
        RunBusyError: another process is building this run.
    """
    with storage_errors(files.build):
        files.build.mkdir(parents=True, exist_ok=True)
    busy = RunBusyError(
        f"run {files.run_dir.name!r} is being built by another process; wait for it to finish (its progress is on the "
        "Home page), or build under another name."
    )
    with held(files.lock, LOCK_PATIENCE_SECONDS, busy):
        yield


def clear_site(files: RunFiles) -> None:
    """Removes what a finished build leaves; call it under `build_lock`."""
    with storage_errors(files.build):
        # Away in one step, then emptied: somebody who looks at the lock meanwhile could put it back into the folder.
        shutil.rmtree(files.finished_build, ignore_errors=True)
        files.build.rename(files.finished_build)
        shutil.rmtree(files.finished_build)


class StoreWriter:
    """The working store of one build, or of one measurement. Use it as a context manager, under `build_lock`.

    `fingerprint` is that of the settings and data. With `adds_to_published` it begins with what is published, for
    evidence that is measured later. `facts` are what provenance will tell of the settings and data, by name, to say
    what differs where the fingerprint does.

    Raises:
        RunMismatchError: the working store belongs to a build with other settings.
        StorageError: the disk is full, read-only or failing.
        StoreDamagedError: the working store cannot be opened.
    """

    def __init__(
        self,
        files: RunFiles,
        shape: Shape,
        fingerprint: str,
        adds_to_published: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.files = files
        self.shape = shape
        self._adds = adds_to_published
        self._path = files.working_evidence if adds_to_published else files.working_store
        with _working_errors(self._path):
            files.build.mkdir(parents=True, exist_ok=True)
            self._connection = open_quietly(self._path)
            try:
                self._begin_or_resume(fingerprint, facts or {})
            except BaseException:
                self._connection.close()
                raise

    def _begin_or_resume(self, fingerprint: str, facts: Mapping[str, Any]) -> None:
        tables = {name for (name,) in self._connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if "journal" not in tables and self._adds:
            self._begin_with_published(fingerprint)
        elif "journal" not in tables:
            with transaction(self._connection):
                self._connection.execute(create_tables(self.shape) + WORKING_TABLES)
                self._set_meta({"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint})
        elif self.meta("schema_version") != SCHEMA_VERSION:
            raise RunMismatchError(
                f"unfinished work on run {self.files.run_dir.name!r} was begun by another version of this program; "
                f"finish it with that one, or delete the folder {self.files.build} and give the same command again."
            )
        elif self.meta("evidence_fingerprint" if self._adds else "fingerprint") != fingerprint:
            work, other, way_out = ("build", "settings or data", ", give this one another name")
            if self._adds:
                work, other, way_out = ("measurement", "settings", " (the Home page goes on with it)")
            differs = what_differs(self.meta, facts)
            raise RunMismatchError(
                f"an unfinished {work} of run {self.files.run_dir.name!r} has other {other}"
                f"{f' ({differs})' if differs else ''}; finish it with the "
                f"command that began it{way_out}, or delete the folder {self.files.build} to give it up."
            )

    def _begin_with_published(self, fingerprint: str) -> None:
        with self._attached(self.files.store, "(READ_ONLY)"), transaction(self._connection):
            self._connection.execute(create_tables(self.shape) + WORKING_TABLES + EVIDENCE_TABLES)
            for table in ORDER_BY:
                self._connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM published.{table}")
            # What is measured from here on takes the place of what was measured with other settings.
            self._connection.execute("DELETE FROM meta WHERE key = 'measured'")
            self._set_meta({"evidence_fingerprint": fingerprint})

    @contextmanager
    def _attached(self, store: Path, how: str = "") -> Iterator[None]:
        """Another store beside the working one, under the name `published`."""
        self._connection.execute(f"ATTACH '{quoted(store)}' AS published {how}")
        try:
            yield
        finally:
            self._connection.execute("DETACH published")

    def _set_meta(self, meta: dict[str, Any]) -> None:
        for key, value in meta.items():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, json.dumps(value)])

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.close()

    def has(self, block: str) -> bool:
        """True when the block has been written."""
        return bool(self._fetch("SELECT 1 FROM journal WHERE block = ?", [block]))

    def _fetch(self, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        with _working_errors(self._path):
            return self._connection.execute(sql, parameters).fetchall()

    def write(
        self,
        block: str,
        tables: dict[str, dict[str, Any]],
        meta: dict[str, Any] | None = None,
        first: Sequence[tuple[str, list[Any]]] = (),
        then: Sequence[tuple[str, list[Any]]] = (),
    ) -> None:
        """Writes the rows of one block and its entry in the journal, its name, in one transaction.

        Columns of `tables` are lists, 1-D arrays or, for arrays, `[n_rows, width]`. Values of `meta` are stored as
        JSON. Statements of `first`, with their parameters, are carried out before, for rows that the block replaces;
        those of `then` afterwards.
        """
        with _working_errors(self._path), transaction(self._connection):
            for statement, parameters in first:
                self._connection.execute(statement, parameters)
            for table, columns in tables.items():
                append_rows(self._connection, table, to_arrow(columns))
            for statement, parameters in then:
                self._connection.execute(statement, parameters)
            self._set_meta(meta or {})
            self._connection.execute("INSERT INTO journal VALUES (?)", [block])

    def tell(self, meta: dict[str, Any]) -> None:
        """Sets entries of meta that are no block of work; values are stored as JSON."""
        with _working_errors(self._path), transaction(self._connection):
            self._set_meta(meta)

    def remove(self, *tables: str) -> None:
        """Removes all rows of tables of the schema."""
        with _working_errors(self._path), transaction(self._connection):
            for table in tables:
                self._connection.execute(f"DELETE FROM {table}")

    def meta(self, key: str) -> Any:
        """A value of the meta table; None when it is not set."""
        rows = self._fetch("SELECT value FROM meta WHERE key = ?", [key])
        return json.loads(rows[0][0]) if rows else None

    def columns(self, sql: str, parameters: list[Any] | None = None) -> dict[str, NDArray[Any]]:
        """Plain columns of a query over the working store."""
        with _working_errors(self._path):
            return dict(self._connection.execute(sql, parameters or []).fetchnumpy())

    def arrow(self, sql: str, parameters: list[Any] | None = None) -> Any:
        """All rows of a query over the working store as an Arrow table."""
        with _working_errors(self._path):
            return self._connection.sql(sql, params=parameters or []).to_arrow_table()

    def arrays(self, sql: str, name: str, parameters: list[Any] | None = None) -> NDArray[np.float32]:
        """One array column of a query as `[n_rows, width]`."""
        return from_arrow_arrays(self.arrow(sql, parameters), name)

    def publish(self) -> None:
        """Makes everything written so far visible to readers, as one new `store.duckdb`."""
        replace_file(self.files.store, self._copy_to)

    def _copy_to(self, path: Path) -> None:
        with _working_errors(self.files.store):
            with open_quietly(path) as published:
                published.execute(create_tables(self.shape))
            try:
                with self._attached(path):
                    with transaction(self._connection):
                        for table, order in ORDER_BY.items():
                            self._connection.execute(
                                f"INSERT INTO published.{table} SELECT * FROM {table} ORDER BY {order}"
                            )
                    self._connection.execute("CHECKPOINT published")
            finally:
                path.with_name(f"{path.name}.wal").unlink(missing_ok=True)  # left by a publication that failed

    def finish(self) -> None:
        """Removes the building site after the last publication."""
        self._connection.close()
        clear_site(self.files)


def _working_errors(path: Path) -> AbstractContextManager[None]:
    return database_errors(
        path,
        "free some space or fix the disk, then give the same command again. Nothing that was finished is lost.",
        f"delete the folder {path.parent} and give the same command again. What was published before is not touched.",
    )
