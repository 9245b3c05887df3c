"""Where the files of a run lie, and how a file is replaced so that no reader ever sees half of it."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from trak_core.errors import InvalidSettingError, StorageError, TrakCoreError

Result = TypeVar("Result")


class RunFiles:
    """Paths inside a run directory.

    `store.duckdb` and `checkpoints/` are the run; `reviews.duckdb` is what people wrote down about it. `build/` is
    there only while the run is being built or measured: the working stores, the plan, the progress and the lock.
    `features.duckdb` holds what an `Attributor` has computed so far; the run does not need it. `sources.json` says
    where on this machine the run's model came from, and is never sent on.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.store = run_dir / "store.duckdb"
        self.reviews = run_dir / "reviews.duckdb"
        self.checkpoints = run_dir / "checkpoints"
        self.build = run_dir / "build"
        self.sources = run_dir / "sources.json"
        self.finished_build = run_dir / ".build-finished"
        self.working_store = self.build / "working.duckdb"
        self.working_evidence = self.build / "evidence.duckdb"
        self.features = run_dir / "features.duckdb"
        self.plan = self.build / "plan.json"
        self.progress = self.build / "progress.json"
        self.lock = self.build / "lock"

    def checkpoint(self, checkpoint_id: int) -> Path:
        """The weights of one checkpoint."""
        return self.checkpoints / f"model_{checkpoint_id}.safetensors"

    def training_log(self, checkpoint_id: int) -> Path:
        """States recorded while a checkpoint was trained."""
        return self.checkpoints / f"log_{checkpoint_id}.safetensors"


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def generation(run_dir: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever a new store is published; None when there is none."""
    return file_version(RunFiles(run_dir).store)


def file_version(path: Path) -> tuple[int, int, int] | None:
    """A value that changes whenever a file is written or replaced; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def check_new_file(path: Path, overwrite: bool) -> None:
    """Refuses a file to write that is there already, or whose folder is missing or may not be written.

    Raises:
        InvalidSettingError: it is there, or it is a folder or has none.
        StorageError: nothing may be written there.
    """
    if path.is_dir():
        raise InvalidSettingError(f"{path} is a folder; name the file to write, in a folder that is there.")
    if path.exists() and not overwrite:
        raise InvalidSettingError(f"{path} is there already and was not changed; give --force or another name.")
    if not path.parent.is_dir():
        raise InvalidSettingError(f"there is no folder {path.parent}; make it first, or choose another place.")
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"cannot write {path}: writing there is not permitted; choose another place.")


def replace_file(path: Path, write: Callable[[Path], Result]) -> Result:
    """Gives `path` new content in one step: `write`, whose result is given back, fills a file that then takes the name.

    The content is on the disk before the name changes, so a crash leaves the old file or the new one.
    """
    temporary = path.with_name(f".{path.name}.new")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        try:
            result = write(temporary)
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            return result
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a small text file in one step."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


_REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "the file may not grow any further; raise the limit on file sizes or free some space",
    errno.EROFS: "the disk is read-only; choose another place (TRAK_RUNS_DIR is that of runs)",
    errno.EACCES: "writing there is not permitted; choose another place (TRAK_RUNS_DIR is that of runs)",
    errno.EPERM: "writing there is not permitted; choose another place (TRAK_RUNS_DIR is that of runs)",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns operating-system errors on `path` into one sentence with what to do next."""
    try:
        yield
    except TrakCoreError:
        raise
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}; fix that")
        raise StorageError(
            f"cannot write {path}: {reason}, then give the same command again. Nothing that was finished is lost."
        ) from error


@contextmanager
def held(lock: Path, seconds: float, busy: TrakCoreError) -> Iterator[None]:
    """Holds a lock file, which a killed process loses at once; `busy` is raised where another keeps it for so long."""
    with storage_errors(lock):
        try:
            holding = FileLock(lock).acquire(timeout=seconds, poll_interval=0.01)
        except Timeout as error:
            raise busy from error
    with holding:
        yield
