"""Work in the background: `python -m trak_core ...` in processes of their own, a few at once, the others in order.

A job that ends writes its result where its command keeps it; here is only how far it is and what a failed one said.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["JobState", "JobStatus", "Jobs", "report_progress"]

JobState = Literal["waiting", "running", "done", "stopped", "failed"]

AT_ONCE = 2
NICENESS = 5
"""How far a job steps back behind the explorer, from 0 to 19."""
KEPT = 200
"""Jobs that have ended and are still remembered."""
PATIENCE_SECONDS = 5.0
"""What a job that is told to stop has for tidying up."""
_STATUS_FILE = "TRAK_JOB_STATUS"
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class JobStatus:
    """A moment of a job.

    Attributes:
        state: "waiting" for others to end, "running", or how it ended.
        fraction: done, 0 to 1.
        step: what is being done, in words; empty until it tells.
        seconds_left: estimate, None while unknown.
        message: why it failed, else empty.
        n_before: jobs that wait in front of it.
        output: what a job that is done said on its standard output, where it was started to keep that.
    """

    state: JobState
    fraction: float = 0.0
    step: str = ""
    seconds_left: float | None = None
    message: str = ""
    n_before: int = 0
    output: str = ""

    @property
    def is_under_way(self) -> bool:
        """True while it waits or runs."""
        return self.state in ("waiting", "running")


def report_progress(fraction: float, step: str) -> None:
    """Tells the explorer how far this process is; does nothing in a process that is no job.

    Args:
        fraction: done, 0 to 1.
        step: what is being done, in words.
    """
    file = os.environ.get(_STATUS_FILE)
    if not file:
        return
    path = Path(file)
    temporary = path.with_name(f"{path.name}.new")
    # Where nobody listens any more the folder is gone, and the work goes on all the same.
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps({"fraction": fraction, "step": step}), encoding="utf-8")
        temporary.replace(path)


@dataclass
class _Job:
    arguments: list[str]
    text: str
    keeps_output: bool
    state: JobState = "waiting"
    message: str = ""
    output: str = ""
    began: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    unwanted: threading.Event = field(default_factory=threading.Event)
    folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="trak-job-", ignore_cleanup_errors=True)
    )

    @property
    def status_file(self) -> Path:
        return Path(self.folder.name) / "status.json"


class Jobs:
    """Runs jobs, each under a key. Safe to share by threads.

    Args:
        at_once: how many run beside each other; the others wait in order.
        program: that runs them, to which their arguments are added.
    """

    def __init__(self, at_once: int = AT_ONCE, program: Sequence[str] = (sys.executable, "-m", "trak_core")) -> None:
        self._at_once = at_once
        self._program = list(program)
        self._lock = threading.Lock()
        self._jobs: dict[str, _Job] = {}
        self._waiting: deque[str] = deque()
        self._n_workers = 0

    def start(self, key: str, arguments: Sequence[str], text: str = "", keeps_output: bool = False) -> None:
        """Starts a job, or lets it wait for its turn; does nothing while one of that key waits or runs.

        Args:
            key: to ask for it by.
            arguments: of the program.
            text: that it finds on its standard input, for what is too long for an argument.
            keeps_output: whether what it says on its standard output is kept until it is forgotten.
        """
        with self._lock:
            held = self._jobs.get(key)
            if held is not None and held.state in ("waiting", "running"):
                return
            self._jobs.pop(key, None)  # so that it is the newest
            self._jobs[key] = _Job(list(arguments), text, keeps_output)
            self._forget_oldest()
            self._waiting.append(key)
            if self._n_workers < self._at_once:
                self._n_workers += 1
                threading.Thread(target=self._work, name="trak job", daemon=True).start()

    def forget(self, key: str) -> None:
        """Forgets a job that has ended; does nothing while it waits or runs."""
        with self._lock:
            if key in self._jobs and self._jobs[key].state not in ("waiting", "running"):
                del self._jobs[key]

    def _forget_oldest(self) -> None:
        ended = [key for key, job in self._jobs.items() if job.state not in ("waiting", "running")]
        for key in ended[: max(0, len(ended) - KEPT)]:
            del self._jobs[key]

    def status(self, key: str) -> JobStatus | None:
        """How far a job is, or how it ended; None when there was none of that key."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                return None
            if job.state == "waiting":
                return JobStatus("waiting", n_before=self._waiting.index(key))
            if job.state != "running":
                return JobStatus(job.state, message=job.message, output=job.output)
        return _running(job)

    def is_running(self, key: str) -> bool:
        """True while a job waits or runs."""
        status = self.status(key)
        return status is not None and status.is_under_way

    def stop(self, key: str) -> None:
        """Stops a job; does nothing where it has ended."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or job.state not in ("waiting", "running"):
                return
            job.unwanted.set()
            if job.state == "waiting":
                self._waiting.remove(key)
                job.state = "stopped"
                job.folder.cleanup()
            elif job.process is not None:
                job.process.terminate()

    def _work(self) -> None:
        """One worker: takes jobs in order until none waits."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._n_workers -= 1
                    return
                job = self._jobs[self._waiting.popleft()]
                job.state, job.began = "running", time.monotonic()
            try:
                state, message = self._run(job)
            except OSError as error:
                state, message = "failed", f"the work could not be started ({error}); free some memory and try again."
            with self._lock:
                job.state, job.message, job.process = state, message, None
                job.folder.cleanup()

    def _run(self, job: _Job) -> tuple[JobState, str]:
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as given:
            given.write(job.text.encode())
            given.seek(0)
            with self._lock:
                if job.unwanted.is_set():
                    return "stopped", ""
                # The same process group as ours: Ctrl-C in the terminal stops both.
                process = job.process = subprocess.Popen(
                    [*self._program, *job.arguments],
                    cwd=_ROOT,
                    env={**os.environ, _STATUS_FILE: str(job.status_file)},
                    stdin=given,
                    stdout=said if job.keeps_output else log,
                    stderr=log,
                )
            with contextlib.suppress(OSError):  # it may have ended already
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            while process.poll() is None:
                if job.unwanted.is_set():
                    _end(process)
                time.sleep(0.05)
            if process.returncode == 0:
                said.seek(0)
                job.output = said.read().decode(errors="replace")
                return "done", ""
            if job.unwanted.is_set():
                return "stopped", ""
            log.seek(0)
            return "failed", _last_words(log.read().decode(errors="replace"), process.returncode)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Waits for a process that was told to end, and ends it if it does not."""
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _running(job: _Job) -> JobStatus:
    try:
        told = json.loads(job.status_file.read_text(encoding="utf-8"))
        fraction, step = float(told["fraction"]), str(told["step"])
    except (OSError, ValueError, KeyError):
        return JobStatus("running")
    left = (time.monotonic() - job.began) * (1 - fraction) / fraction if fraction > 0.02 else None
    return JobStatus("running", fraction, step, left)


def _last_words(said: str, returncode: int) -> str:
    lines = said.replace("\r", "\n").strip().splitlines()
    last = lines[-1].removeprefix("error: ") if lines else ""
    how = f"was killed by signal {-returncode}" if returncode < 0 else f"ended with status {returncode}"
    return last or f"the process {how} and said nothing; try again."
