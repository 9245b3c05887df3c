"""`reviews.duckdb`: what people write down about a run, the only file that the explorer writes.

The file is opened for each read and write and closed again, some milliseconds each: so several servers and commands may
write to one run, and wait for each other for a moment only. Within a process all threads share one handle while it is
open. Rows are only ever added, never changed: whoever undoes something adds that it was undone.
"""

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from filelock import FileLock, Timeout

from trak_core.errors import StorageError, StoreDamagedError
from trak_core.store.connection import is_damage, is_disk_trouble
from trak_core.store.files import RunFiles, storage_errors

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
    """The reviews of one run. Safe to use from several threads and processes.

    Args:
        run_dir: of the run; the file comes into being with the first write.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = RunFiles(run_dir).reviews

    def rows(self, query: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; none where nothing was written yet.

        Where the run may not be written, a copy is read: the file is opened for writing even to read it.

        Raises:
            StorageError: the file is held by another process for long, or the disk fails.
            StoreDamagedError: the file cannot be read.
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
        """Carries out a statement for each row of parameters, all in one transaction.

        Raises:
            StorageError: the file is held by another process for long, or the disk is full or failing; nothing of this
                write is kept, and all that was written before is.
            StoreDamagedError: the file cannot be read.
        """
        with self._open() as connection:
            connection.execute("BEGIN")
            connection.executemany(statement, [list(row) for row in rows])
            connection.execute("COMMIT")

    def copy_to(self, target: Path) -> bool:
        """True when the reviews, as they are at one moment, were copied to a file; False where there are none.

        Raises:
            StorageError: the file is held by another process for long, or the disk is full or failing.
            StoreDamagedError: the file cannot be read.
        """
        if not self.path.exists():
            return False
        with self._open() as connection:
            connection.execute("CHECKPOINT")  # while it is held, nobody else writes to it
            shutil.copyfile(self.path, target)
        return True

    @contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        # DuckDB's own lock is not enough: processes that open and close in turn can still read a file half closed.
        with storage_errors(self.path), _one_at_a_time, self._alone():
            try:
                connection = self._connect()
                try:
                    connection.execute(_TABLES)
                    connection.execute(_ADDED)
                    yield connection
                finally:
                    connection.close()
            except duckdb.Error as error:
                raise self._said(error) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            lock.acquire(timeout=PATIENCE_SECONDS, poll_interval=0.01)
        except Timeout as error:
            raise StorageError(
                f"cannot open {self.path}: another process has held it for {PATIENCE_SECONDS:.0f} seconds; close that, "
                "then try again. Nothing that was recorded is lost."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return duckdb.connect(str(self.path), config={"enable_external_access": "false"})
            except duckdb.IOException as error:
                if "lock" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.005, 0.03))

    def _said(self, error: duckdb.Error) -> Exception:
        text = str(error).splitlines()[0]
        if is_disk_trouble(error) or "lock" in text:
            return StorageError(
                f"cannot write {self.path} ({text}); free some space or close what holds it, then try again. Nothing "
                "that was recorded is lost."
            )
        if is_damage(error):
            return StoreDamagedError(
                f"{self.path} is damaged ({text}); restore it from a copy, or move it away to begin new reviews."
            )
        return error
