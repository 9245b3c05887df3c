"""Kills a build again and again, as power cuts and impatient people do."""

import os
import random
import signal
import subprocess
import sys
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


def die_at_next_event(runs: Path, when: str) -> None:
    """Builds the small run in this process and dies by SIGKILL at its first event that is new.

    Args:
        runs: the directory of runs.
        when: "before" or "after" the event; an event is a block written or a publication.
    """
    from tests.conftest import SMALL
    from trak_core.engine import BuildSettings, build_run
    from trak_core.store import writer
    from trak_core.subjects import find_recipe

    marker = runs / "died"
    seen = marker.read_text().splitlines() if marker.exists() else []

    def deadly(name: str) -> None:
        original = getattr(writer.StoreWriter, name)

        def event(self: writer.StoreWriter, *arguments: object, **keywords: object) -> None:
            what = str(arguments[0]) if name == "write" else name
            fresh = f"{when} {what}" not in seen  # twice in the same place would be for ever
            if fresh and when == "before":
                die(what)
            original(self, *arguments, **keywords)
            if fresh and when == "after":
                die(what)

        setattr(writer.StoreWriter, name, event)

    def die(what: str) -> None:
        marker.write_text("\n".join([*seen, f"{when} {what}"]))
        print(f"{when} {what}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    for name in ("write", "publish"):
        deadly(name)
    runs.mkdir(parents=True, exist_ok=True)
    build_run(BuildSettings.of(find_recipe("digits"), 0, "cpu", **SMALL), "digits", runs)


if __name__ == "__main__":
    die_at_next_event(Path(sys.argv[1]), sys.argv[2])
