"""Language models fine-tuned, explained by the token and proved by retraining.

    python tests/benchmarks/language.py [NAME ...] [--results FOLDER] [--only-table]

builds docs-lm, docs-bert, docs-t5, the passages of docs-lm by adapters (docs-lm-lora) and tiny Shakespeare (of the
shared data), measures the methods that suit them, and prints one table from what is there. Each step is a build or a
measurement that goes on where it was stopped; names choose some of the runs. A run is measured on the random halves
that nothing was tuned on.
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

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.label_subjects import DATA
from trak_core.inputs import take
from trak_core.live.context import read_context
from trak_core.projection import make_feature_map
from trak_core.store.run import Run, open_run

ROOT = Path(__file__).resolve().parents[2]
MOST_MINUTES, MOST_GIGABYTES = 30.0, 4.0
METHODS = (
    *("trak", "trak_dropout", "influence_fisher", "source", "grad_dot", "grad_cos", "trackstar", "lora_ensemble"),
    *("bm25", "embedding", "lexical_overlap", "amount", "grad_norm", "input_similarity", "random"),
)
REMOVED = ("trak", "bm25", "embedding", "random")
"""Methods whose strongest passages are removed."""
MOST_REMOVED = 40
NAMES = ("docs-lm", "docs-bert", "docs-t5", "docs-lm-lora", "shakespeare")
SIZES = ["--n-test", "96", "--n-checkpoints", "3", "--n-subsets", "40", "--n-seeds", "2"]


@dataclass(frozen=True)
class Case:
    """A run, and what it has to reach."""

    words: Sequence[str]  # of `build`
    ceiling: float = 0.0  # the least noise ceiling
    lds: float | None = None  # the least LDS of TRAK
    best: tuple[float, float] | None = None  # the least LDS of the best method, or share of the ceiling
    beats: tuple[str, ...] = ()  # methods below the interval of TRAK, besides controls
    more: tuple[str, ...] = ()  # methods that are measured besides `METHODS`
    is_judged: bool = True  # False where the figures are told and nothing is asked of them
    has_documents: bool = False  # whether whole documents are left out too


def cases(results: Path) -> dict[str, Case]:
    """The runs by name; Shakespeare is fine-tuned from the base of docs-lm, and skipped where either is missing."""
    of_relevance = ("bm25", "embedding")
    known = {
        "docs-lm": Case(["docs-lm"], 0.90, 0.50, (0.65, 0.70), of_relevance, has_documents=True),
        "docs-bert": Case(["docs-bert"], 0.85, more=("same_class",)),
        "docs-t5": Case(["docs-t5"], 0.85),
    }
    text, bases = DATA / "tinyshakespeare" / "input.txt", sorted((results / "bases").glob("docs-lm-*/base.json"))
    if not bases:
        print("docs-lm-lora and tiny Shakespeare start from the base of docs-lm; build that first")
        return known
    base = bases[-1].parent
    model = ["--model", f"huggingface:{base}", "--n-train", "512", *SIZES]
    known["docs-lm-lora"] = Case(["passages", str(_documents(base, results)), *model, "--lora", "8"], is_judged=False)
    if text.is_file():
        words = ["passages", str(text), *model]
        known["shakespeare"] = Case(words, 0.90, 0.50, None, of_relevance, has_documents=True)
    else:
        print("tiny Shakespeare is skipped: there are no shared data here")
    return known


def _documents(base: Path, results: Path) -> Path:
    """The passages of docs-lm as files, one a document."""
    folder = results / "documents"
    folder.mkdir(exist_ok=True)
    passages = json.loads((base / "passages.json").read_text(encoding="utf-8"))
    for document, found in passages.items():
        text = "\n".join(each.strip() for each in [*found["train"], *found["test"]])
        (folder / f"{document}.txt").write_text(text, encoding="utf-8")
    return folder


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
        ("evidence", (*METHODS, *case.more), ["--removal-tests", "0"]),
        ("removal", REMOVED, ["--removal-tests", "10", "--removal-size", str(MOST_REMOVED), "--removal-seeds", "1"]),
    ):
        if step not in told:
            named = [word for method in methods for word in ("--method", method)]
            smallest = ["--truth-subsets", "0", "--datamodel-subsets", "0"]
            told[step] = run(["evidence", name, *named, *options, *smallest], results)
            kept.write_text(json.dumps(told), encoding="utf-8")
    if "costs" not in told:
        told["costs"] = costs(results / "runs" / name)
        kept.write_text(json.dumps(told), encoding="utf-8")
    if case.has_documents and "documents" not in told:
        words = [sys.executable, str(ROOT / "tests" / "benchmarks" / "documents.py"), str(results / "runs" / name)]
        environment = {**os.environ, "TRAK_RUNS_DIR": str(results / "runs")}
        told["documents"] = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
        kept.write_text(json.dumps(told), encoding="utf-8")


def costs(path: Path) -> dict[str, float]:
    """What the model of a run comes to: its size, and what training and featurizing take on one core."""
    os.environ["TRAK_RUNS_DIR"] = str(path.parent)
    torch.set_num_threads(1)
    with open_run(path) as found:
        live = read_context(found)
    context, weights = live.context, live.context.states[0]
    trainer = live.subject.trainer("cpu")
    began = time.process_time()
    trainer.train_checkpoints([0], 0)
    training = time.process_time() - began
    rows = context.gradients
    features = make_feature_map("sjlt", rows.layers, rows.computer.factored, 2048, 0)
    seconds = []
    for _ in range(3):
        began = time.process_time()
        rows.projected(weights, take(context.train.inputs, slice(64)), context.train.targets[:64], features)
        seconds.append(time.process_time() - began)
    return {
        "parameters": sum(each.numel() for each in context.architecture.parameters()),
        "differentiated": context.n_parameters,
        "training": training,
        "rate": 64 / min(seconds),
    }


def report(name: str, case: Case, results: Path) -> dict[str, bool]:
    """Prints what is known of a run; its targets and whether they are met."""
    told = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    with open_run(results / "runs" / name) as found:
        board, removals, made = _board(found), _removals(found), found.info.provenance
        print(f"\n== {name}: {found.info.n_train:,} train and {found.info.n_test:,} test examples")
    print(f"{made['n_subsets']} halves x {made['n_seeds']} seeds, {made['n_checkpoints']} checkpoints")
    for what in ("build", "evidence", "removal"):
        if what in told:
            print(f"{what}: {told[what][0] / 60:.1f} min, {told[what][1]:.2f} GB")
    _say_costs(told.get("costs"), {row["method"]: row for row in board})
    for row in board:
        kind = "control" if row["is_control"] else "baseline" if row["is_baseline"] else "method"
        print(
            f"  {kind:8} {row['method']:17} LDS {row['lds']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}] of "
            f"{row['noise_ceiling']:.3f}; {row['seconds'] or 0:.0f} CPU s"
        )
    for row in removals:
        fall = f"{row['fall']:.2f} +- {row['error']:.2f}"
        print(f"  removal of the top {row['k']}: {row['method']:17} log odds fall by {fall}")
    if "documents" in told:
        print(told["documents"].rstrip())
    return _targets(case, told, board, removals) if case.is_judged else {}


def _say_costs(cost: dict[str, float] | None, by_name: dict[str, dict[str, Any]]) -> None:
    if cost is None:
        return
    print(
        f"{cost['parameters']:,} parameters, {cost['differentiated']:,} of them differentiated; a training takes "
        f"{cost['training']:.1f} CPU s; featurizing (SJLT to 2,048) {cost['rate']:.0f} examples a CPU second"
    )
    if adapters := by_name.get("lora_ensemble"):
        naive = by_name["trak"]
        n, alone = naive["n_checkpoints"], cost["training"] + adapters["seconds"]
        print(
            f"adapters on one checkpoint: LDS {adapters['lds']:.3f} after {alone:.0f} CPU s of training and serving; "
            f"{n} checkpoints: {naive['lds']:.3f} after {n * cost['training'] + naive['seconds']:.0f}"
        )


def _targets(
    case: Case, told: dict[str, Any], board: list[dict[str, Any]], removals: list[dict[str, Any]]
) -> dict[str, bool]:
    by_name = {row["method"]: row for row in board}
    trak, ceiling = by_name["trak"], by_name["trak"]["noise_ceiling"]
    targets = {
        f"builds under {MOST_GIGABYTES:g} GB": told["build"][1] < MOST_GIGABYTES,
        f"builds within {MOST_MINUTES:g} minutes": told["build"][0] < 60 * MOST_MINUTES,
        f"ceiling at least {case.ceiling}": ceiling >= case.ceiling,
    }
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
    fall = {row["method"]: row for row in removals if row["k"] == MOST_REMOVED}
    if {"trak", "random"} <= fall.keys():
        low = fall["trak"]["fall"] - 1.96 * fall["trak"]["error"]
        high = fall["random"]["fall"] + 1.96 * fall["random"]["error"]
        targets["removal by TRAK lowers log odds more than random, by interval"] = low > high
    return targets


def _board(found: Run) -> list[dict[str, Any]]:
    names = (
        "method",
        "is_control",
        "is_baseline",
        "n_checkpoints",
        "lds",
        "ci_low",
        "ci_high",
        "noise_ceiling",
        "seconds",
    )
    rows = found.rows(
        f"SELECT {', '.join(names[:-1])}, lds_summary.seconds FROM lds_summary JOIN methods USING (method) "
        "QUALIFY n_checkpoints = max(n_checkpoints) OVER (PARTITION BY method) ORDER BY lds DESC"
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def _removals(found: Run) -> list[dict[str, Any]]:
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
    for name in given.names or NAMES:
        if not given.only_table and (case := cases(results).get(name)) is not None:
            measure(name, case, results)
    targets: dict[str, bool] = {}
    for name, case in cases(results).items():
        if name in (given.names or NAMES) and (results / f"{name}.json").is_file():
            targets |= {f"{name}: {what}": met for what, met in report(name, case, results).items()}
    print()
    for what, met in targets.items():
        print(f"{'met' if met else 'MISSED':7} {what}")
    n_met = sum(targets.values())
    print(f"{len(targets)} targets: {n_met} met, {len(targets) - n_met} missed")
    sys.exit(n_met < len(targets))


if __name__ == "__main__":
    main()
