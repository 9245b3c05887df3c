"""Work in the background: `python -m trak_core ...` in processes of their own, a few at once, the others in order.

A job leaves its result where its command keeps it; here is only how far it is, what it says, and why it failed. One
thread looks after all processes of a list. It is no pool of `concurrent.futures`: when the explorer is told to end,
such a pool first runs every job that still waits, and keeps the explorer from ending until the last one is done.
"""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import weakref
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trak_core.store.files import RunFiles
from trak_core.store.progress import is_being_built
from trak_core.threads import PASSIVE

JobState = Literal["waiting", "running", "done", "stopped", "failed"]

AT_ONCE = 2
NICENESS = 5
"""How far a job steps back behind the explorer, from 0 to 19."""
KEPT = 200
"""Jobs that have ended and are still remembered."""
PATIENCE_SECONDS = 5.0
"""What a job that is told to stop has for tidying up; a build has all the time that it needs to keep what it has."""
TAIL_BYTES = 64 * 1024
"""How much of a log is looked at."""
_STATUS_FILE = "TRAK_JOB_STATUS"


@dataclass(frozen=True)
class JobStatus:
    """A moment of a job."""

    state: JobState  # "waiting" for others to end, "running", or how it ended
    fraction: float = 0.0  # done, 0 to 1
    step: str = ""  # what is being done, in words; empty until it tells
    seconds_left: float | None = None  # estimate, None while unknown
    message: str = ""  # why it failed, else empty
    n_before: int = 0  # jobs that wait in front of it
    output: str = ""  # what a job that is done said on its standard output, where it was started to keep that
    is_stopping: bool = False  # whether it was asked to stop and has not ended yet

    @property
    def is_under_way(self) -> bool:
        """True while it waits or runs."""
        return self.state in ("waiting", "running")

    @property
    def place_in_line(self) -> str:
        """A sentence on how many wait in front of a job that waits; empty for any other."""
        if self.state != "waiting":
            return ""
        return f"Waiting for its turn{f', {self.n_before} before it' if self.n_before else ''}."


def report_progress(fraction: float, step: str) -> None:
    """Tells the explorer how far this process is, 0 to 1; does nothing in a process that is no job."""
    if not os.environ.get(_STATUS_FILE):
        return
    path = Path(os.environ[_STATUS_FILE])
    temporary = path.with_name(f"{path.name}.new")
    # Where nobody listens any more the folder is gone, and the work goes on all the same.
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps({"fraction": fraction, "step": step}), encoding="utf-8")
        temporary.replace(path)


def package_environment() -> dict[str, str]:
    """This process's environment, with what `python -m trak_core` needs to find this package from any folder."""
    package_root = str(Path(__file__).resolve().parents[1])
    if package_root == sysconfig.get_path("purelib"):  # installed; Python looks there anyway
        return dict([PASSIVE]) | os.environ
    paths = [package_root, os.environ.get("PYTHONPATH", "")]
    return {**dict([PASSIVE]), **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def last_words(said: str, returncode: int) -> str:
    """Why a process failed: the last line that it said, else how it ended."""
    lines = said.replace("\r", "\n").strip().splitlines()
    last = lines[-1].removeprefix("error: ") if lines else ""
    how = f"was killed by signal {-returncode}" if returncode < 0 else f"ended with status {returncode}"
    return last or f"the process {how} and said nothing; try again."


class Jobs:
    """Runs jobs, each under a key: builds under the directory of their run. Safe to share by threads.

    `at_once` of them run beside each other, the others wait in order. Their arguments are added to the `program`.
    """

    def __init__(self, at_once: int = AT_ONCE, program: Sequence[str] = (sys.executable, "-m", "trak_core")) -> None:
        self._at_once = at_once
        self._program = list(program)
        self._lock = threading.Lock()
        self._jobs: dict[Hashable, _Job] = {}  # in the order in which they were started
        self._is_looked_after = False

    def start(self, key: Hashable, arguments: Sequence[str], text: str = "", keeps_output: bool = False) -> None:
        """Starts a job, or lets it wait for its turn; does nothing while one of that key waits or runs.

        The program finds `text`, what is too long for an argument, on its standard input. With `keeps_output`, what it
        says on its standard output is kept until it is forgotten, apart from its log.
        """
        self._add(key, _Job(list(arguments), text, keeps_output))

    def start_build(self, run_dir: Path, command: Sequence[str]) -> None:
        """Starts a build or goes on with it, in its turn; does nothing while one is under way, here or elsewhere.

        It is a job whose key is the run's directory. Told to stop, it ends cleanly within seconds, keeps what it has
        finished, and goes on when it is started again.
        """
        if not is_being_built(RunFiles(run_dir)):
            environment = {"TRAK_RUNS_DIR": str(run_dir.parent)}
            self._add(run_dir, _Job(list(command), environment=environment, is_build=True))

    def status(self, key: Hashable) -> JobStatus | None:
        """How far a job is, or how it ended; None when there was none of that key."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                return None
            if job.state == "waiting":
                line = [other for other, held in self._jobs.items() if held.state == "waiting"]
                return JobStatus("waiting", n_before=line.index(key))
            if job.state == "running":
                return job.progress()
            return JobStatus(job.state, message=job.message, output=job.output())

    def is_running(self, key: Hashable) -> bool:
        """True while a job waits or runs."""
        status = self.status(key)
        return status is not None and status.is_under_way

    def failure(self, key: Hashable) -> str | None:
        """Why a job failed; None where it did not, or was asked to stop."""
        status = self.status(key)
        return status.message if status is not None and status.state == "failed" else None

    def log(self, key: Hashable, n_lines: int = 200) -> list[str]:
        """The last lines that a job has said since its last start, also while it runs; none where there is none."""
        with self._lock:
            job = self._jobs.get(key)
            said = "" if job is None else job.said()
        return said.replace("\r", "\n").strip().splitlines()[-n_lines:]

    def started(self, runs_dir: Path) -> dict[Path, list[str]]:
        """The last command of every run in a directory of runs that was built here, also where nothing came of it."""
        with self._lock:
            builds = {key: job.arguments for key, job in self._jobs.items() if isinstance(key, Path)}
        return {run_dir: command for run_dir, command in builds.items() if run_dir.parent == runs_dir}

    def stop(self, key: Hashable) -> bool:
        """True when a job waits or runs and is asked to stop."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or not job.is_under_way:
                return False
            job.stop()
            return True

    def forget(self, key: Hashable) -> None:
        """Forgets a job that has ended, with its failure and its log; does nothing while it waits or runs."""
        with self._lock:
            if key in self._jobs and not self._jobs[key].is_under_way:
                del self._jobs[key]

    def _add(self, key: Hashable, job: "_Job") -> None:
        with self._lock:
            held = self._jobs.get(key)
            if held is not None and held.is_under_way:
                return
            self._jobs.pop(key, None)  # so that it is the newest
            self._jobs[key] = job
            ended = [key for key, job in self._jobs.items() if not job.is_under_way]
            for oldest in ended[: max(0, len(ended) - KEPT)]:
                del self._jobs[oldest]
            self._begin_those_next()
            if not self._is_looked_after:
                self._is_looked_after = True
                threading.Thread(target=self._look_after, name="trak jobs", daemon=True).start()

    def _begin_those_next(self) -> None:
        n_free = self._at_once - sum(job.state == "running" for job in self._jobs.values())
        for job in [job for job in self._jobs.values() if job.state == "waiting"][: max(0, n_free)]:
            job.begin(self._program)

    def _look_after(self) -> None:
        """Notices which processes end and begins those whose turn it is, until none is under way."""
        while True:
            with self._lock:
                for job in self._jobs.values():
                    job.look()
                self._begin_those_next()
                if not any(job.is_under_way for job in self._jobs.values()):
                    self._is_looked_after = False
                    return
            time.sleep(0.05)


@dataclass
class _Job:
    arguments: list[str]
    text: str = ""
    keeps_output: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    is_build: bool = False
    state: JobState = "waiting"
    message: str = ""
    began: float = 0.0
    stop_by: float | None = None
    process: subprocess.Popen[bytes] | None = None
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="trak-job-")))

    def __post_init__(self) -> None:
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)  # once it is forgotten

    @property
    def is_under_way(self) -> bool:
        return self.state in ("waiting", "running")

    def begin(self, program: list[str]) -> None:
        self.state, self.began = "running", time.monotonic()
        environment = {**package_environment(), _STATUS_FILE: str(self.folder / "status.json"), **self.environment}
        try:
            (self.folder / "input").write_text(self.text, encoding="utf-8")
            with (
                (self.folder / "input").open("rb") as given,
                (self.folder / "output").open("wb") as output,
                (self.folder / "log").open("wb") as log,
            ):
                # The same process group as ours: Ctrl-C in the terminal stops both, and a build goes on next time.
                self.process = subprocess.Popen(
                    [*program, *self.arguments],
                    env=environment,
                    stdin=given,
                    stdout=output if self.keeps_output else log,
                    stderr=log,
                )
        except OSError as error:
            self.end("failed", f"the work could not be started ({error}); free some memory and try again.")
            return
        with contextlib.suppress(OSError):  # it may have ended already
            os.setpriority(os.PRIO_PROCESS, self.process.pid, NICENESS)

    def look(self) -> None:
        """Notices that the process has ended; ends one that was told to stop and does not."""
        if self.process is None:
            return
        returncode = self.process.poll()
        if returncode is None:
            if self.stop_by is not None and time.monotonic() > self.stop_by:
                self.process.kill()
        elif returncode == 0:
            self.end("done")
        elif self.stop_by is not None:
            self.end("stopped")
        else:
            self.end("failed", last_words(self.said(), returncode))

    def stop(self) -> None:
        if self.process is None:
            self.end("stopped")
        elif self.stop_by is None:
            self.stop_by = time.monotonic() + (math.inf if self.is_build else PATIENCE_SECONDS)
            self.process.terminate()

    def end(self, state: JobState, message: str = "") -> None:
        self.state, self.message, self.process = state, message, None

    def progress(self) -> JobStatus:
        is_stopping = self.stop_by is not None
        try:
            told = json.loads((self.folder / "status.json").read_text(encoding="utf-8"))
            fraction, step = float(told["fraction"]), str(told["step"])
        except (OSError, ValueError, KeyError):
            return JobStatus("running", is_stopping=is_stopping)
        left = (time.monotonic() - self.began) * (1 - fraction) / fraction if fraction > 0.02 else None
        return JobStatus("running", fraction, step, left, is_stopping=is_stopping)

    def output(self) -> str:
        """What a job that is done said on its standard output, where that is kept."""
        if self.state != "done" or not self.keeps_output:
            return ""
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")

    def said(self) -> str:
        """The end of the log."""
        try:
            with (self.folder / "log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:  # it has not begun
            return ""
