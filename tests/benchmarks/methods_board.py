"""The method boards of digits and docstrings, removal, and what each of them must reach.

Run it from the root of the repository: `python tests/benchmarks/methods_board.py [--only RECIPE] [--runs DIR]`. It
builds the runs with one command each, as people do, and takes about fifteen minutes for digits and half an hour for
docstrings on two CPU cores. The exit status is 1 when a target is missed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.core_report import Report
from trak_core.store.run import Run, open_run
from trak_core.views.evidence import board, removal_comparison, truth_table

SHARES = {"digits": 0.93, "docstrings": 0.85}
MIN_ROWS = 15
MOST_LOST = 0.03
"""Of LDS, where the class counts of the halves are fixed."""
GRADIENT_METHODS = (
    *(
        "trak",
        "trak_threshold",
        "trak_dropout",
        "trak_forward",
        "magic",
        "influence_exact",
        "influence_cg",
        "influence_fisher",
    ),
    *("influence_ekfac", "source", "logra", "tracin", "grad_dot", "grad_cos"),
)
MINUTES = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(SHARES), default=list(SHARES), help="measure only these")
    parser.add_argument("--runs", type=Path, help="keep the runs here, and take those that are there already")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.runs or Path(temporary)
        for recipe in arguments.only:
            measure(recipe, runs, report)
    return 0 if report.finish() else 1


def measure(recipe: str, runs: Path, report: Report) -> None:
    report.section(recipe)
    for command in (["build", recipe], ["evidence", recipe]):
        minutes = timed(command, runs, report)
    with open_run(runs / recipe) as run:
        check_board(recipe, run, report)
        if recipe == "digits":
            check_digits(run, report)
            report.check("minutes of the whole evidence (board and removal)", minutes, "at most", MINUTES, " min")


def timed(command: list[str], runs: Path, report: Report) -> float:
    """Minutes that a command of `python -m trak_core` takes; what it prints is printed."""
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-m", "trak_core", *command],
        cwd=ROOT,
        env={**os.environ, "TRAK_RUNS_DIR": str(runs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    minutes = (time.monotonic() - began) / 60
    print(result.stdout)
    report.say(f"python -m trak_core {' '.join(command)}: {minutes:.1f} min")
    return minutes


def check_board(recipe: str, run: Run, report: Report) -> None:
    found = board(run)
    report.check("methods on the board", len(found.rows), "at least", MIN_ROWS)
    best = found.rows[0]
    report.check(f"share of the noise ceiling, {best.title}", best.share or float("nan"), "at least", SHARES[recipe])


def check_digits(run: Run, report: Report) -> None:
    rows = {row.method: row for row in board(run).rows}
    floor = rows["same_class"].lds or float("nan")
    for method in GRADIENT_METHODS:
        report.check(f"LDS of {method} less that of same class", (rows[method].lds or 0) - floor, "at least", 0)
    for method in ("trak", "magic"):
        lost = (rows[method].lds or float("nan")) - (rows[method].fixed or float("nan"))
        report.check(f"LDS of {method} less that at fixed class counts", lost, "at most", MOST_LOST)
    magic = truth_table(run).set_index("method")["one model, 5% dropped"].get(rows["magic"].title, float("nan"))
    report.check("LDS of MAGIC, one model, 5% dropped", magic, "at least", 0.97)
    compared = removal_comparison(run, 10)
    if compared is None:
        report.check("share of test images where removal hurts more", float("nan"), "at least", 0.7)
        return
    report.check(
        f"share of {compared.n_tests} test images where removing 10 by {compared.title} hurts more than 10 neighbours",
        compared.share,
        "at least",
        0.7,
    )
    report.say(f"95% interval of that share: {compared.ci_low:.2f} to {compared.ci_high:.2f}")


if __name__ == "__main__":
    sys.exit(main())
