"""The runs that there are, each with its state, damaged ones included; and how one goes."""

import math
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trak_core.errors import InvalidSettingError, RunBusyError, RunNotFoundError, RunNotReadyError, TrakCoreError
from trak_core.folders import runs_dir
from trak_core.store.files import RunFiles, storage_errors
from trak_core.store.progress import BuildStatus, is_being_built, read_status
from trak_core.store.run import RunInfo, open_run
from trak_core.store.writer import build_lock

RunState = Literal["ready", "building", "stopped", "failed", "damaged"]
_TRASH = ".deleted-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class RunSummary:
    """One line about a run."""

    name: str  # of its directory
    path: Path  # of its directory
    # "ready" when it is whole and nothing builds it; "building", "stopped" or "failed" tell of its build; "damaged"
    # when the store cannot be read
    state: RunState
    can_open: bool  # True when a store is published, also while a build goes on
    problem: str  # why it cannot be opened or why its build failed, else empty
    build: BuildStatus | None  # its build, if one is under way or waiting to go on
    n_train: int | None = None  # number of train examples, None when it cannot be opened; likewise the rest
    n_test: int | None = None  # number of test examples
    lds: float | None = None  # mean LDS of the run's own method, None without evidence
    fixed: float | None = None  # the same at fixed class counts, None where it is not measured
    noise_ceiling: float | None = None  # of that LDS
    info: RunInfo | None = None  # what the run is, None when it cannot be opened


def check_run_name(name: str) -> str:
    """The name, if a run may have it; InvalidSettingError if it could leave the directory of runs, or is hidden."""
    if not _NAME.fullmatch(name):
        raise InvalidSettingError(
            f"run name {name!r} will not do; use up to 100 letters, digits, dots, dashes and underscores, beginning "
            "with a letter or digit."
        )
    return name


def list_runs() -> list[RunSummary]:
    """A summary of every run, by name; empty when the directory is missing."""
    return [summarize(path) for path in run_dirs()]


def run_dirs() -> list[Path]:
    """Directories of all runs, finished or not, by name; empty when the directory of runs is missing."""
    directory = runs_dir()
    if not directory.is_dir():
        return []
    found = [path for path in sorted(directory.iterdir()) if path.is_dir() and _NAME.fullmatch(path.name)]
    return [path for path in found if RunFiles(path).store.exists() or RunFiles(path).build.exists()]


def published_runs() -> list[Path]:
    """Directories of the runs that have published something, by name; whether they can be read is not checked."""
    return [path for path in run_dirs() if RunFiles(path).store.exists()]


def summarize(run_dir: Path) -> RunSummary:
    """A summary of the run in a directory; never raises for a run that is damaged or unfinished."""
    build = read_status(run_dir)
    state: RunState = "ready"
    if build is not None:
        state = "building" if build.state == "running" else build.state
    problem = build.message if build else ""
    try:
        run = open_run(run_dir)
    except RunNotReadyError:
        return RunSummary(run_dir.name, run_dir, state if build else "stopped", False, problem, build)
    except TrakCoreError as error:
        return RunSummary(run_dir.name, run_dir, "damaged", False, str(error), build)
    with run:
        n_train, n_test = run.info.n_train, run.info.n_test
        found = RunSummary(run_dir.name, run_dir, state, True, problem, build, n_train, n_test, info=run.info)
        if not run.has_lds:
            return found
        evidence = run.lds()
        lds, fixed, ceiling = map(_defined, (evidence.mean, evidence.fixed, evidence.noise_ceiling))
        return replace(found, lds=lds, fixed=fixed, noise_ceiling=ceiling)


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def find_run(name_or_path: str | os.PathLike[str]) -> Path:
    """The directory of a run, given its path or its name in the directory of runs.

    Raises:
        RunNotFoundError: there is none; the message lists those that there are.
    """
    as_path = Path(name_or_path)
    candidates = [as_path]
    if _NAME.fullmatch(str(name_or_path)):
        candidates.insert(0, runs_dir() / name_or_path)
    for candidate in candidates:
        try:
            if RunFiles(candidate).store.exists() or RunFiles(candidate).build.exists():
                return candidate
        except OSError:  # too long for a path: then there is no run either
            continue
    names = [path.name for path in run_dirs()]
    there_are = f"there are: {', '.join(names)}"
    if not names:
        there_are = "there is none yet; `python -m trak_core build digits` makes one"
    raise RunNotFoundError(f"no run {str(name_or_path)!r} ({there_are}).")


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
