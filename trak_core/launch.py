"""Starts builds in processes of their own, so that whoever asked stays free to answer people."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from trak_core.errors import StoreDamagedError
from trak_core.evidence.verification import Check
from trak_core.store.files import RunFiles
from trak_core.store.progress import is_being_built

__all__ = ["Launcher", "verify_apart"]

NICENESS = 5
"""How far a build steps back behind the explorer, from 0 to 19."""
TAIL_BYTES = 64 * 1024
"""How much of a log is looked at."""
_ROOT = Path(__file__).resolve().parents[1]


class Launcher:
    """Starts at most one build a run at a time, and keeps what a failed one said. Safe to share by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: dict[Path, subprocess.Popen[bytes]] = {}
        self._logs: dict[Path, IO[bytes]] = {}
        self._commands: dict[Path, list[str]] = {}
        self._asked_to_stop: set[Path] = set()

    def start(self, run_dir: Path, command: list[str]) -> None:
        """Starts a build, or goes on with it; does nothing while one is under way.

        Args:
            run_dir: of the run.
            command: the arguments of `python -m trak_core`.
        """
        with self._lock:
            process = self._processes.get(run_dir)
            if (process is not None and process.poll() is None) or is_being_built(RunFiles(run_dir)):
                return
            log = tempfile.TemporaryFile()
            # The same process group as ours: Ctrl-C in the terminal stops both, and the build goes on next time.
            self._processes[run_dir] = subprocess.Popen(
                [sys.executable, "-m", "trak_core", *command],
                cwd=_ROOT,
                env={**os.environ, "TRAK_RUNS_DIR": str(run_dir.parent)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            if run_dir in self._logs:
                self._logs[run_dir].close()
            self._logs[run_dir] = log
            self._commands[run_dir] = command
            self._asked_to_stop.discard(run_dir)
            # Measuring takes minutes, and the explorer should answer meanwhile.
            with contextlib.suppress(OSError):  # it may have ended already
                os.setpriority(os.PRIO_PROCESS, self._processes[run_dir].pid, NICENESS)

    def is_running(self, run_dir: Path) -> bool:
        """True while a build that was started here has not ended."""
        process = self._processes.get(run_dir)
        return process is not None and process.poll() is None

    def stop(self, run_dir: Path) -> bool:
        """True when a build that was started here is under way and was asked to stop.

        It stops cleanly within seconds, keeps what it has finished, and goes on when it is started again.
        """
        with self._lock:
            if not self.is_running(run_dir):
                return False
            self._asked_to_stop.add(run_dir)
            self._processes[run_dir].terminate()
            return True

    def is_stopping(self, run_dir: Path) -> bool:
        """True while a build that was asked to stop has not ended."""
        return run_dir in self._asked_to_stop and self.is_running(run_dir)

    def was_stopped(self, run_dir: Path) -> bool:
        """True when the last build that was started here was asked to stop and has ended."""
        return run_dir in self._asked_to_stop and not self.is_running(run_dir)

    def started(self, runs_dir: Path) -> dict[Path, list[str]]:
        """The last command of every run in a directory of runs that was started here, also where nothing came of it."""
        return {path: command for path, command in self._commands.items() if path.parent == runs_dir}

    def forget(self, run_dir: Path) -> None:
        """Forgets a build that has ended: its failure is told no more, and its log is gone."""
        with self._lock:
            if self.is_running(run_dir):
                return
            self._processes.pop(run_dir, None)
            self._commands.pop(run_dir, None)
            self._asked_to_stop.discard(run_dir)
            if run_dir in self._logs:
                self._logs.pop(run_dir).close()

    def log(self, run_dir: Path, n_lines: int = 200) -> list[str]:
        """The last lines that the build said since its last start here; none when it was not started here."""
        with self._lock:
            log = self._logs.get(run_dir)
            if log is None:
                return []
            size = os.fstat(log.fileno()).st_size
            # The process writes at the position of this very handle: seeking would move it, `pread` does not.
            tail = os.pread(log.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES))
        return tail.decode(errors="replace").replace("\r", "\n").strip().splitlines()[-n_lines:]

    def failure(self, run_dir: Path) -> str | None:
        """The last line that a failed build said; None when none has failed since the last start.

        A build that was asked to stop has not failed.
        """
        process = self._processes.get(run_dir)
        if process is None or process.poll() in (None, 0) or run_dir in self._asked_to_stop:
            return None
        lines = self.log(run_dir)
        last = lines[-1].removeprefix("error: ") if lines else ""
        return last or f"the build process ended with status {process.returncode} and said nothing."


def verify_apart(run_dir: Path) -> list[Check]:
    """Every check of a run, made in a process of its own, because it reads every table as a whole.

    Raises:
        StoreDamagedError: the run cannot be opened, or the checks could not be made.
    """
    result = subprocess.run(
        [sys.executable, "-m", "trak_core", "verify", str(run_dir), "--json"],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    try:
        return [Check(**check) for check in json.loads(result.stdout)["checks"]]
    except (ValueError, KeyError, TypeError) as error:
        lines = result.stderr.strip().splitlines()
        said = lines[-1].removeprefix("error: ") if lines else f"the check ended with status {result.returncode}."
        raise StoreDamagedError(said) from error
