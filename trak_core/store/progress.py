"""How far a build is: a small file beside the working store, written by the builder and read by anybody."""

import fcntl
import json
import shlex
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from trak_core.store.files import RunFiles, write_text

BuildState = Literal["running", "stopped", "failed"]


@dataclass(frozen=True)
class BuildStatus:
    """A moment of a build."""

    state: BuildState  # "running", "stopped" (interrupted or killed; the same command goes on) or "failed"
    step: str  # what is being done, in words
    fraction: float  # of the whole work, 0 to 1
    seconds_left: float | None  # estimate for the whole build, None while unknown
    seconds_to_scores: float | None  # estimate until the run can be browsed, 0 when it can, None while unknown
    message: str  # why it failed, else empty
    command: list[str]  # the arguments of `python -m trak_core` that go on with it
    updated_at: float  # seconds since 1970
    seconds_spent: float = 0.0  # by all starts of the build together

    @property
    def in_a_terminal(self) -> str:
        """The command that goes on with it, for a terminal; empty where none does."""
        return f"python -m trak_core {shlex.join(self.command)}" if self.command else ""

    @property
    def time_left(self) -> str:
        """What to put behind the step: a comma and "about 12 s left" or "about 4 min left"; nothing while unknown."""
        if not self.seconds_left:
            return ""
        if self.seconds_left < 100:
            return f", about {self.seconds_left:.0f} s left"
        return f", about {self.seconds_left / 60:.0f} min left"


def how_to_finish(run_dir: Path) -> str:
    """What to do about a run whose build is not finished, to go on from "it is not finished; "."""
    status = read_status(run_dir)
    if status is not None and status.state == "running":
        return "wait for it"
    if status is None or not status.command:
        return "finish it first"
    return f"finish it first: `{status.in_a_terminal}`"


def write_status(files: RunFiles, status: BuildStatus) -> None:
    """Writes the status in one step."""
    write_text(files.progress, json.dumps(asdict(status)))


def read_status(run_dir: Path) -> BuildStatus | None:
    """The status of the build in a run directory; None when no build is under way or waiting to go on.

    A build whose process is gone is reported as stopped, whatever it last wrote.
    """
    files = RunFiles(run_dir)
    alive = is_being_built(files)
    try:
        status = BuildStatus(**json.loads(files.progress.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        # No status yet (a build that just began), or none any more (one that just finished).
        if not alive and not files.working_store.exists() and not files.working_evidence.exists():
            return None
        status = BuildStatus("running", "starting", 0.0, None, None, "", [], time.time())
    if status.state == "running" and not alive:
        return replace(status, state="stopped", seconds_left=None, seconds_to_scores=None)
    return status


def is_being_built(files: RunFiles) -> bool:
    """True while a living process holds the lock of the build; a killed process holds none.

    The look is a shared lock on a read-only handle: it needs no right to write, and two who look do not see each other.
    """
    try:
        handle = files.lock.open("rb")
    except FileNotFoundError:
        return False
    except OSError:
        return True  # somebody else's, and not to be looked at: better to wait than to build over it
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(handle, fcntl.LOCK_UN)
    return False
