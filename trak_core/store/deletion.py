"""Deletes a run: out of the way in one step, then piece by piece."""

import shutil
import tempfile
from pathlib import Path

from trak_core.errors import RunBusyError, RunNotFoundError
from trak_core.store.files import RunFiles, storage_errors
from trak_core.store.progress import is_being_built
from trak_core.store.writer import build_lock

_TRASH = ".deleted-"


def delete_run(run_dir: Path) -> None:
    """Deletes a run with everything in it; whoever has it open may read on until they close it.

    The run is gone at once or not at all; pieces that a kill leaves behind go with the next run that is deleted.

    Raises:
        RunBusyError: it is being built or measured.
        RunNotFoundError: there is no such run.
        StorageError: it may not be deleted.
    """
    files = RunFiles(run_dir)
    if not files.store.exists() and not files.build.exists():
        raise RunNotFoundError(f"there is no run at {run_dir}.")
    if is_being_built(files):
        raise RunBusyError(f"run {run_dir.name!r} is being built; cancel the build first, then delete the run.")
    with storage_errors(run_dir):
        trash = Path(tempfile.mkdtemp(dir=run_dir.parent, prefix=_TRASH))
        try:
            with build_lock(files):  # nobody begins to build what is going away
                run_dir.rename(trash / run_dir.name)
        finally:
            for leftover in run_dir.parent.glob(f"{_TRASH}*"):
                shutil.rmtree(leftover, ignore_errors=True)
