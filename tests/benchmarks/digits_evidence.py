"""LDS of the digits run for three seeds, and a build killed ten times against an unbroken one.

Run it from the root of the repository: `python tests/benchmarks/digits_evidence.py`. Takes about four minutes on two
CPU cores.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np

from tests.killing import kill_and_go_on
from trak_core.engine import BuildSettings, build_run
from trak_core.store.run import Run, open_run
from trak_core.subjects import find_recipe
from trak_core.views.evidence import board

SEEDS = (0, 1, 2)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        runs = Path(temporary)
        for seed in SEEDS:
            build_run(BuildSettings.of(find_recipe("digits"), seed, "auto"), f"digits-{seed}", runs)
        with_runs = [open_run(runs / f"digits-{seed}") for seed in SEEDS]
        for run in with_runs:
            print_board(run)
        means = [run.lds().mean for run in with_runs]
        print(f"LDS over seeds {SEEDS}: largest distance from seed 0 is {max(abs(m - means[0]) for m in means):.3f}")
        killed = runs / "killed"
        command = [sys.executable, "-m", "trak_core", "build", "digits"]
        fractions = kill_and_go_on(command, killed, longest_wait=9.0)
        with open_run(killed / "digits") as again:
            unbroken = with_runs[0].scores()
            difference = np.abs(again.scores() - unbroken).max() / np.abs(unbroken).max()
        print(f"killed at {fractions} of the work: largest difference {difference:.1e} of the largest score")
        verified = subprocess.run(
            [sys.executable, "-m", "trak_core", "verify", str(killed / "digits")],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        print(verified.stdout, end="")


def print_board(run: Run) -> None:
    found = board(run)
    accuracy = run.rows("SELECT avg(test_accuracy), min(test_accuracy) FROM checkpoints")[0]
    made = run.info.provenance
    print(
        f"seed {made['seed']}: test accuracy {accuracy[0]:.3f} (worst checkpoint {accuracy[1]:.3f}), "
        f"ridge {made['ridge']:g}, noise ceiling {found.noise_ceiling:.3f}, calibration slope {found.slope:.2f}"
    )
    for row in found.rows:
        print(
            f"  {row.title:22} LDS {row.lds:6.3f}  95% interval {row.ci_low:6.3f} to {row.ci_high:6.3f}  "
            f"{row.share:5.1%} of the ceiling  {row.seconds:6.2f} CPU s"
        )


if __name__ == "__main__":
    main()
