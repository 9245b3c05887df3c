"""Language models fine-tuned, explained by the token and proved by retraining.

    python tests/benchmarks/language.py [NAME ...] [--results FOLDER] [--only-table]

builds docs-lm, docs-t5 and tiny Shakespeare (of the shared data), measures the methods
that suit them, and prints one table from what is there. Each step is a build or a measurement that goes on where it
was stopped; names choose some of the runs. A run is measured on the random halves that nothing was tuned on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.label_subjects import DATA
from trak_core.store.run import Run, open_run

ROOT = Path(__file__).resolve().parents[2]
MOST_MINUTES, MOST_GIGABYTES = 30.0, 4.0
METHODS = (
    *("trak", "trak_dropout", "influence_fisher", "source", "grad_dot", "grad_cos", "trackstar", "lora_ensemble"),
    *("bm25", "embedding", "lexical_overlap", "amount", "grad_norm", "input_similarity", "random"),
)
REMOVED = ("trak", "bm25", "embedding", "random")
"""Methods whose strongest passages are removed."""


@dataclass(frozen=True)
class Case:
    """A run, and what it has to reach."""

    words: Sequence[str]  # of `build`
    ceiling: float  # the least noise ceiling
    lds: float | None = None  # the least LDS of TRAK
    best: tuple[float, float] | None = None  # the least LDS of the best method, or share of the ceiling
    beats: tuple[str, ...] = ()  # methods below the interval of TRAK; controls always are


def cases(results: Path) -> dict[str, Case]:
    """The runs by name; Shakespeare is fine-tuned from the base of docs-lm, and skipped where either is missing."""
    known = {
        "docs-lm": Case(["docs-lm"], 0.90, 0.50, (0.65, 0.70), ("bm25", "embedding")),
        "docs-t5": Case(["docs-t5"], 0.85),
    }
    text, bases = DATA / "tinyshakespeare" / "input.txt", sorted((results / "bases").glob("docs-lm-*/base.json"))
    if not text.is_file():
        print("tiny Shakespeare is skipped: there are no shared data here")
    elif not bases:
        print("tiny Shakespeare is skipped: it starts from the base of docs-lm; build that first")
    else:
        words = ["passages", str(text), "--model", f"huggingface:{bases[-1].parent}", "--n-train", "512"]
        sizes = ["--n-test", "96", "--n-checkpoints", "3", "--n-subsets", "40", "--n-seeds", "2"]
        known["shakespeare"] = Case([*words, *sizes], 0.90, 0.50, None, ("bm25", "embedding"))
    return known


def run(words: Sequence[str], results: Path) -> tuple[float, float]:
    """Runs a command of the program; gives seconds on the clock and the peak of its memory in gigabytes."""
    environment = {**os.environ, "TRAK_RUNS_DIR": str(results / "runs")}
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "trak_core", *words], cwd=ROOT, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"python -m trak_core {' '.join(words)} failed")
    return time.monotonic() - began, used.ru_maxrss / 1e6


def measure(name: str, case: Case, results: Path) -> None:
    """Builds a run and measures its methods, as far as that is not done."""
    kept = results / f"{name}.json"
    told: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if "build" not in told:
        told["build"] = run(["build", *case.words, "--name", name], results)
        kept.write_text(json.dumps(told), encoding="utf-8")
    for step, methods, options in (
        ("evidence", METHODS, ["--removal-tests", "0"]),
        ("removal", REMOVED, ["--removal-tests", "10", "--removal-size", "40", "--removal-seeds", "1"]),
    ):
        if step not in told:
            named = [word for method in methods for word in ("--method", method)]
            smallest = ["--truth-subsets", "0", "--datamodel-subsets", "0"]
            told[step] = run(["evidence", name, *named, *options, *smallest], results)
            kept.write_text(json.dumps(told), encoding="utf-8")


def report(name: str, case: Case, results: Path) -> dict[str, bool]:
    """Prints what is known of a run; its targets and whether they are met."""
    told = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    targets: dict[str, bool] = {}
    with open_run(results / "runs" / name) as found:
        board = _board(found)
        made = found.info.provenance
        print(f"\n== {name}: {found.info.n_train:,} train and {found.info.n_test:,} test examples")
        print(f"{made['n_subsets']} halves x {made['n_seeds']} seeds, {made['n_checkpoints']} checkpoints")
        for what, (seconds, gigabytes) in told.items():
            print(f"{what}: {seconds / 60:.1f} min, {gigabytes:.2f} GB")
            targets[f"{what} stays under {MOST_GIGABYTES:g} GB"] = gigabytes < MOST_GIGABYTES
        targets[f"builds within {MOST_MINUTES:g} minutes"] = told["build"][0] < 60 * MOST_MINUTES
        for row in board:
            kind = "control" if row["is_control"] else "baseline" if row["is_baseline"] else "method"
            print(
                f"  {kind:8} {row['method']:17} LDS {row['lds']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}] of "
                f"{row['noise_ceiling']:.3f}; {row['seconds'] or 0:.0f} CPU s"
            )
        for row in _removal(found):
            print(
                f"  removal of the top {row['k']}: {row['method']:17} log odds fall by {row['fall']:.2f} "
                f"+- {row['error']:.2f}"
            )
        by_name = {row["method"]: row for row in board}
        trak, ceiling = by_name["trak"], by_name["trak"]["noise_ceiling"]
        targets[f"ceiling at least {case.ceiling}"] = ceiling >= case.ceiling
        if case.lds is not None:
            targets[f"LDS of TRAK at least {case.lds}"] = trak["lds"] >= case.lds
        controls = [row["method"] for row in board if row["is_control"]]
        for other in dict.fromkeys([*case.beats, *controls]):
            if other in by_name:
                targets[f"TRAK's interval is above {other}"] = trak["ci_low"] > by_name[other]["lds"]
        if case.best is not None:
            best = max(row["lds"] for row in board if not row["is_baseline"])
            least, share = case.best
            targets[f"a method reaches {least} or {share:.0%} of the ceiling"] = best >= min(least, share * ceiling)
    return targets


def _board(found: Run) -> list[dict[str, Any]]:
    names = ("method", "is_control", "is_baseline", "lds", "ci_low", "ci_high", "noise_ceiling", "seconds")
    rows = found.rows(
        "SELECT method, is_control, is_baseline, lds, ci_low, ci_high, noise_ceiling, lds_summary.seconds FROM "
        "lds_summary JOIN methods USING (method) QUALIFY n_checkpoints = max(n_checkpoints) OVER (PARTITION BY method) "
        "ORDER BY lds DESC"
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def _removal(found: Run) -> list[dict[str, Any]]:
    rows = found.rows(
        "SELECT method, k, avg(unremoved - model_output), stddev_samp(unremoved - model_output) / sqrt(count(*)) FROM "
        "removals GROUP BY ALL ORDER BY k DESC, 3 DESC"
    )
    return [dict(zip(("method", "k", "fall", "error"), row, strict=True)) for row in rows]


def main() -> None:
    """Builds, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--results", type=Path, default=ROOT / "data" / "benchmarks" / "language")
    parser.add_argument("--only-table", action="store_true", help="measure nothing; print what is there")
    given = parser.parse_args()
    results: Path = given.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    wanted = given.names or ["docs-lm", "docs-t5", "shakespeare"]
    if not given.only_table:
        for name in wanted:
            if (case := cases(results).get(name)) is not None:
                measure(name, case, results)
    targets: dict[str, bool] = {}
    for name, case in cases(results).items():
        if name in wanted and (results / f"{name}.json").is_file():
            targets |= {f"{name}: {what}": met for what, met in report(name, case, results).items()}
    print()
    for what, met in targets.items():
        print(f"{'met' if met else 'MISSED':7} {what}")
    n_met = sum(targets.values())
    print(f"{len(targets)} targets: {n_met} met, {len(targets) - n_met} missed")
    sys.exit(n_met < len(targets))


if __name__ == "__main__":
    main()
