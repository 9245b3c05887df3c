"""Starts builds in processes of their own, so that whoever asked stays free to answer people."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from trak_core.store.files import RunFiles
from trak_core.store.progress import is_being_built

__all__ = ["Launcher"]

NICENESS = 5
"""How far a build steps back behind the explorer, from 0 to 19."""
_ROOT = Path(__file__).resolve().parents[1]


class Launcher:
    """Starts at most one build a run at a time, and keeps what a failed one said. Safe to share by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: dict[Path, subprocess.Popen[bytes]] = {}
        self._logs: dict[Path, IO[bytes]] = {}

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
            self._logs[run_dir] = log
            # Measuring takes minutes, and the explorer should answer meanwhile.
            with contextlib.suppress(OSError):  # it may have ended already
                os.setpriority(os.PRIO_PROCESS, self._processes[run_dir].pid, NICENESS)

    def is_running(self, run_dir: Path) -> bool:
        """True while a build that was started here has not ended."""
        process = self._processes.get(run_dir)
        return process is not None and process.poll() is None

    def failure(self, run_dir: Path) -> str | None:
        """The last line that a failed build said; None when none has failed since the last start."""
        process = self._processes.get(run_dir)
        if process is None or process.poll() in (None, 0):
            return None
        log = self._logs[run_dir]
        log.seek(0)
        lines = log.read().decode(errors="replace").replace("\r", "\n").strip().splitlines()
        last = lines[-1].removeprefix("error: ") if lines else ""
        return last or f"the build process ended with status {process.returncode} and said nothing."
