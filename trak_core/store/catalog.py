"""The runs that there are, each with its state, damaged ones included."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trak_core.errors import InvalidSettingError, RunNotFoundError, RunNotReadyError, TrakCoreError
from trak_core.folders import runs_dir
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus, read_status
from trak_core.store.run import open_run
from trak_core.store.run_info import RunInfo

RunState = Literal["ready", "building", "stopped", "failed", "damaged"]
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
    noise_ceiling: float | None = None  # of that LDS
    info: RunInfo | None = None  # what the run is, None when it cannot be opened


def check_run_name(name: str) -> str:
    """The name, if a run may have it.

    Raises:
        InvalidSettingError: it could leave the directory of runs, or clash with hidden files.
    """
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
        evidence = run.lds(run.info.method) if run.has_lds else None
        return RunSummary(
            run_dir.name,
            run_dir,
            state,
            True,
            problem,
            build,
            run.info.n_train,
            run.info.n_test,
            _defined(evidence.mean) if evidence else None,
            _defined(evidence.noise_ceiling) if evidence else None,
            run.info,
        )


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
    there_are = (
        f"there are: {', '.join(names)}" if names else "there is none yet; `python -m trak_core build digits` makes one"
    )
    raise RunNotFoundError(f"no run {str(name_or_path)!r} ({there_are}).")
