"""Reads a published store by SQL, from many threads at once.

A reader is a snapshot: it goes on showing what was published when it was opened, also while a newer store takes its
place. `generation` tells when to open it again.
"""

import json
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb

from trak_core.errors import RunNotFoundError, RunNotReadyError, StoreDamagedError, StoreVersionError
from trak_core.store.connection import attach, is_damage, unreadable
from trak_core.store.files import RunFiles, generation
from trak_core.store.schema import SCHEMA_VERSION
from trak_core.store.upgrade import can_be_upgraded, upgraded_store

Fetched = TypeVar("Fetched")
Rows = list[tuple[Any, ...]]
MOST_ANSWERS = 256
LONGEST_ANSWER = 100
"""Rows. Every page asks for the same little, and neighbours in a gallery for the same examples; long answers are rarely
asked for twice and would cost memory."""


class Answers:
    """The short answers that were asked for last, at most `most`; can be used from many threads at once.

    A published run never changes, so neither do they.
    """

    def __init__(self, most: int = MOST_ANSWERS) -> None:
        self._most = most
        self._kept: OrderedDict[str, Rows] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(query: str, params: Sequence[Any]) -> str | None:
        """What stands for a query with its parameters; None where a parameter is no plain value or list of such."""
        try:
            return json.dumps([query, list(params)])
        except TypeError:
            return None

    def get(self, key: str | None) -> Rows | None:
        """The rows, for the caller to keep; None when they are not known."""
        with self._lock:
            if key is None or key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return list(self._kept[key])

    def put(self, key: str | None, rows: Rows) -> None:
        """Remembers a short answer, and forgets the one that was not asked for longest."""
        if key is None or len(rows) > LONGEST_ANSWER:
            return
        with self._lock:
            self._kept[key] = list(rows)
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)


class StoreReader:
    """The published store of a run, read-only; an older one is upgraded first. Errors are those of `open_run`."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir
        files = RunFiles(run_dir)
        if not files.store.exists():
            if files.build.exists():
                raise RunNotReadyError(
                    f"run {run_dir.name!r} has nothing to show yet: its build is not far enough. Wait for it, or give "
                    "its build command again if it was stopped."
                )
            raise RunNotFoundError(f"there is no run at {run_dir}.")
        self._lock = threading.Lock()
        self._idle_cursors: deque[duckdb.DuckDBPyConnection] = deque()
        self._answers = Answers()
        self._open(files.store)
        version = self._version()
        if can_be_upgraded(version):
            self.close()
            self._open(upgraded_store(files))
            version = self._version()
        if version != SCHEMA_VERSION:
            self.close()
            newer = isinstance(version, int) and version > SCHEMA_VERSION
            raise StoreVersionError(
                f"run {run_dir.name!r} has schema version {version}, and this program reads version "
                f"{SCHEMA_VERSION}; {'update this program' if newer else 'build the run again'} to open it. The run "
                "was not changed."
            )

    def _open(self, store: Path) -> None:
        self.generation = generation(self.path)  # of the store when it was opened
        self.store_file = store  # another than the run's where an older store could not be upgraded in its place
        self._connection = attach(store)

    def _version(self) -> Any:
        try:
            found = self.rows("SELECT value FROM meta WHERE key = 'schema_version'")
            return json.loads(found[0][0]) if found else None
        except (StoreDamagedError, duckdb.Error, ValueError, TypeError) as error:
            self.close()
            raise StoreDamagedError(
                f"{self.store_file} holds no run; give the build command again to make it anew."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the store file."""
        while self._idle_cursors:
            self._idle_cursors.pop().close()
        self._answers = Answers()
        self._connection.close()

    def sql(self, query: str, params: Sequence[Any] | None = None) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation over the tables of the run; the store cannot be changed and no file can be read.

        Args:
            query: one SELECT statement.
            params: values for its `?` placeholders.
        """
        return self._cursor().sql(query, params=list(params or []))

    def rows(self, query: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; short answers are remembered."""
        key = self._answers.key(query, params)
        known = self._answers.get(key)
        if known is None:
            known = self._read(lambda cursor: cursor.execute(query, list(params)).fetchall())
            self._answers.put(key, known)
        return known

    def columns(self, query: str, params: Sequence[Any] = ()) -> dict[str, Any]:
        """All rows of a query as numpy columns."""
        return self._read(lambda cursor: cursor.execute(query, list(params)).fetchnumpy())

    def arrow(self, query: str, params: Sequence[Any] = ()) -> Any:
        """All rows of a query as an Arrow table."""
        return self._read(lambda cursor: cursor.sql(query, params=list(params)).to_arrow_table())

    def _read(self, fetch: Callable[[duckdb.DuckDBPyConnection], Fetched]) -> Fetched:
        """What `fetch` reads to its end with a cursor that nobody else uses meanwhile."""
        try:
            cursor = self._idle_cursors.pop()
        except IndexError:
            cursor = self._cursor()
        try:
            fetched = fetch(cursor)
        except duckdb.Error as error:
            if is_damage(error):
                raise unreadable(self.store_file, error) from error
            raise
        self._idle_cursors.append(cursor)  # not after an error: what state it is in then is not known
        return fetched

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        # A connection shared by threads fails when two of them use it; a cursor each does not.
        with self._lock:
            cursor = self._connection.cursor()
        cursor.execute("USE store")
        return cursor
