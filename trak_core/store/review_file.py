"""`reviews.duckdb`: what people write down about a run, the only file that the explorer writes.

The file is opened for each read and write and closed again, some milliseconds each: so several servers and commands may
write to one run, and wait for each other for a moment only. Within a process all threads share one handle while it is
open. Rows are only ever added, never changed: whoever undoes something adds that it was undone.
"""

import hashlib
import json
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import duckdb

from trak_core.errors import StorageError, StoreDamagedError
from trak_core.store.connection import database_errors, transaction
from trak_core.store.files import RunFiles, held, storage_errors

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
PATIENCE_SECONDS = 10.0
_TABLES = """
CREATE TABLE IF NOT EXISTS verdicts(
    verdict_id BIGINT PRIMARY KEY, train_idx INTEGER, verdict VARCHAR, new_label INTEGER, reviewer VARCHAR,
    note VARCHAR, reviewed_at TIMESTAMP, undoes BIGINT, data_fingerprint VARCHAR, split VARCHAR DEFAULT 'train');
CREATE TABLE IF NOT EXISTS what_ifs(
    what_if_id VARCHAR PRIMARY KEY, asked_at TIMESTAMP, fingerprint VARCHAR, test_idx INTEGER, removed INTEGER[],
    result VARCHAR);
CREATE TABLE IF NOT EXISTS retrainings(
    retraining_id VARCHAR PRIMARY KEY, asked_at TIMESTAMP, fingerprint VARCHAR, n_seeds INTEGER,
    relabelled INTEGER[], new_labels INTEGER[], excluded INTEGER[], result VARCHAR);
"""
# Reviews begun by an older version lack it; it comes in one transaction, and older programs can go on writing.
_ADDED = "ALTER TABLE verdicts ADD COLUMN IF NOT EXISTS split VARCHAR DEFAULT 'train'"
_one_at_a_time = threading.Lock()


class ReviewFile:
    """The reviews of one run, from the first write on. Safe to use from several threads and processes.

    Raises:
        StorageError: another process holds the file for long, or the disk is full or failing; from every method.
        StoreDamagedError: the file cannot be read; likewise.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = RunFiles(run_dir).reviews

    def rows(self, query: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; none where nothing was written yet.

        Where the run may not be written, a copy is read: the file is opened for writing even to read it.
        """
        if not self.path.exists():
            return []
        if os.access(self.path.parent, os.W_OK):
            with self._open() as connection:
                return connection.execute(query, list(params)).fetchall()
        with storage_errors(self.path), tempfile.TemporaryDirectory() as directory:
            copy = ReviewFile(Path(directory))
            shutil.copyfile(self.path, copy.path)
            return copy.rows(query, params)

    def write(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Carries out a statement for each row of parameters, all in one transaction, or nothing where that fails."""
        with self._open() as connection, transaction(connection):
            connection.executemany(statement, [list(row) for row in rows])

    def copy_to(self, target: Path) -> bool:
        """True when the reviews, as they are at one moment, were copied to a file; False where there are none."""
        if not self.path.exists():
            return False
        with self._open() as connection:
            connection.execute("CHECKPOINT")  # while it is held, nobody else writes to it
            shutil.copyfile(self.path, target)
        return True

    @contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        busy = StorageError(
            f"cannot open {self.path}: another process has held it for {PATIENCE_SECONDS:.0f} seconds; close that, "
            "then try again. Nothing that was recorded is lost."
        )
        if_full = "free some space or close what holds it, then try again. Nothing that was recorded is lost."
        # DuckDB's own lock is not enough: processes that open and close in turn can still read a file half closed.
        with (
            database_errors(self.path, if_full, "restore it from a copy, or move it away to begin new reviews."),
            _one_at_a_time,
            held(self.path.with_name(f".{self.path.name}.lock"), PATIENCE_SECONDS, busy),
            self._connect() as connection,
        ):
            connection.execute(_TABLES)
            connection.execute(_ADDED)
            yield connection

    def _connect(self) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return duckdb.connect(str(self.path), config={"enable_external_access": "false"})
            except duckdb.IOException as error:
                if "lock" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.005, 0.03))


class History(Generic[Asked, Answer]):
    """Answers of retraining about one run, a table of the file. Safe to use from several threads and processes.

    What was asked once is never retrained again, and what was found is never changed. Answers that were found before
    the run was built anew stay in the file and are not shown.
    """

    table: str
    title: str  # of an answer, for messages
    key: str  # the column that two questions share only if they are the same
    asked: tuple[str, ...]  # the columns that hold the question, besides the fingerprint of the run

    def __init__(self, run_dir: Path) -> None:
        self._file = ReviewFile(run_dir)

    def find(self, asked: Asked) -> Answer | None:
        """The answer to a question; None when it was never finished. Errors are those of `ReviewFile`."""
        found = self._select(self.key, getattr(asked, self.key))
        return found[0] if found else None

    def of_run(self, fingerprint: str) -> list[Answer]:
        """All answers about the run as it is built now, newest first."""
        return self._select("fingerprint", fingerprint)

    def add(self, answer: Answer) -> None:
        """Keeps an answer; one that is there already stays as it is."""
        row = self._row(answer)
        places = ", ".join("?" * len(row))
        self._file.write(f"INSERT OR IGNORE INTO {self.table}({', '.join(row)}) VALUES ({places})", [[*row.values()]])

    def _row(self, answer: Answer) -> dict[str, Any]:
        """An answer as the columns of its row."""
        raise NotImplementedError

    def _answer(self, fingerprint: str, asked_at: datetime, found: dict[str, Any], *asked: Any) -> Answer:
        """The answer of a row: when it was asked, what was found, and the columns of `asked`."""
        raise NotImplementedError

    def _select(self, column: str, value: str) -> list[Answer]:
        rows = self._file.rows(
            f"SELECT fingerprint, asked_at, result, {', '.join(self.asked)} FROM {self.table} WHERE {column} = ? "
            f"ORDER BY asked_at DESC, {self.key}",
            [value],
        )
        try:
            return [
                self._answer(fingerprint, asked_at.replace(tzinfo=UTC), json.loads(result), *asked)
                for fingerprint, asked_at, result, *asked in rows
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreDamagedError(
                f"{self._file.path} holds a {self.title} that cannot be read ({type(error).__name__}: {error}); "
                "restore it from a copy, or move it away to begin a new history."
            ) from error


def utc(moment: datetime) -> datetime:
    """The moment as the file keeps it: in UTC, without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def digits_of(*parts: Any) -> str:
    """Hex digits that two questions share only if they are the same."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
