"""Kills a build again and again, as power cuts and impatient people do."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

from trak_core.store.progress import read_status

ROOT = Path(__file__).resolve().parents[1]


def kill_and_go_on(command: list[str], runs: Path, longest_wait: float, n_kills: int = 10) -> list[float]:
    """Fractions done at each of `n_kills` random SIGKILLs; afterwards the same command is let to finish.

    Args:
        command: that builds the run "digits".
        runs: the directory of runs.
        longest_wait: seconds; a kill falls uniformly between the first sign of work and this.
        n_kills: how often.
    """
    environment = {**os.environ, "TRAK_RUNS_DIR": str(runs)}
    moments, fractions = random.Random(0), []
    for _ in range(n_kills):
        began = time.time()
        build = subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while (status := read_status(runs / "digits")) is None or status.updated_at < began or not status.command:
            assert build.poll() is None, "the build ended by itself before the kill"
            time.sleep(0.01)
        time.sleep(moments.uniform(0, longest_wait))
        build.send_signal(signal.SIGKILL)
        build.wait()
        status = read_status(runs / "digits")
        if status is None:
            fractions.append(1.0)
            break
        assert status.state == "stopped"
        fractions.append(round(status.fraction, 3))
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return fractions
