"""Own data from the command line to measured evidence, within minutes, on an idle machine and on a busy one.

    python tests/benchmarks/own_data.py [NAME ...] [--results FOLDER] [--fresh]

writes each data set as people have theirs, gives the one command that a person would, and prints its plan, the time on
the clock, when suspects were there, accuracy, LDS, LDS at fixed class counts, and the controls. What was measured is
kept in the folder of results, so that the benchmark goes on where it was stopped; names choose some of the data sets.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image

from tests.benchmarks.label_subjects import DATA
from trak_core.store.run import open_run

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SHARE_TOLERANCE = 0.03
OVERTIME = 1.15
SUSPECTS_SECONDS = 180.0
BUSY = "while True:\n    sum(i * i for i in range(10**5))"
"""What a busy process does."""


@dataclass(frozen=True)
class Case:
    """A data set with the minutes that it is given."""

    write: Callable[[Path], list[str]]  # writes it into a folder; gives the arguments of `build`
    minutes: float
    share: float | None = None  # of the noise ceiling that was reached by the trainer of twenty epochs
    suspects_in_time: bool = False  # whether suspects have to be there within three minutes
    n_busy: int = 0  # processes that keep the machine busy meanwhile


def fashion(n: int) -> Callable[[Path], list[str]]:
    """The first Fashion-MNIST train images, as FOLDER/CLASS/NUMBER.png."""

    def write(folder: Path) -> list[str]:
        with gzip.open(DATA / "fashion_mnist" / "train-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
        with gzip.open(DATA / "fashion_mnist" / "train-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read()[8:], np.uint8)
        for name in CLASSES:
            (folder / "fashion" / name).mkdir(parents=True)
        for number in range(n):
            Image.fromarray(pixels[number]).save(folder / "fashion" / CLASSES[labels[number]] / f"{number:05}.png")
        return ["image-folder", str(folder / "fashion")]

    return write


def colour(folder: Path) -> list[str]:
    """CIFAR-10 images with the labels that one person gave each, as FOLDER/CLASS/NUMBER.jpg."""
    found = np.load(DATA / "cifar10n_dev" / "data.npz")
    jpeg, offsets = found["jpeg"].tobytes(), found["offsets"]
    for number, label in enumerate(found["random2"]):
        home = folder / "colour" / str(found["class_names"][label])
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{number:05}.jpg").write_bytes(jpeg[offsets[number] : offsets[number + 1]])
    return ["image-folder", str(folder / "colour")]


def trec(n: int | None = None) -> Callable[[Path], list[str]]:
    """The first TREC questions, as a CSV file with a header."""

    def write(folder: Path) -> list[str]:
        lines = (DATA / "trec" / "train_5500.label").read_text(encoding="latin-1").splitlines()[:n]
        rows = [line.split(" ", 1) for line in lines]
        _write_csv(folder / "trec.csv", ("question", "kind"), [(text, label.split(":")[0]) for label, text in rows])
        return ["table", str(folder / "trec.csv"), "--text", "question", "--label", "kind"]

    return write


def sst2(n: int | None = None) -> Callable[[Path], list[str]]:
    """The first SST-2 sentences in one table; all of them as two tables without headers."""

    def write(folder: Path) -> list[str]:
        train = DATA / "sst2" / "train.tsv"
        if n is None:
            return ["table", str(train), "--test", str(train.with_name("dev.tsv")), *COLUMNS]
        (folder / "sst2.tsv").write_text("".join(train.open(encoding="utf-8").readlines()[:n]), encoding="utf-8")
        return ["table", str(folder / "sst2.tsv"), *COLUMNS]

    return write


COLUMNS = ("--text", "1", "--label", "2", "--no-header")
CASES = {
    "fashion": Case(fashion(5000), 10, share=0.653),
    "trec": Case(trec(), 10, share=0.894, suspects_in_time=True),
    "sst2": Case(sst2(), 10, share=0.919, suspects_in_time=True),
    "colour": Case(colour, 10, suspects_in_time=True),
    "trec-641": Case(trec(641), 3),
    "trec-300": Case(trec(300), 3),
    "sst2-641": Case(sst2(641), 3),
    "sst2-300": Case(sst2(300), 3),
    "fashion-479": Case(fashion(479), 3),
    "trec-641-busy": Case(trec(641), 3, n_busy=2),
    "fashion-479-busy": Case(fashion(479), 3, n_busy=2),
}


def _write_csv(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def measured(name: str, case: Case, runs: Path) -> dict[str, Any]:
    """Builds a run, and tells what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["build", *case.write(Path(folder)), "--minutes", f"{case.minutes:g}", "--name", name]
        print("\npython -m trak_core", " ".join(command).replace(folder, "DIR"), flush=True)
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(case.n_busy)]
        store, seen = runs / name / "store.duckdb", threading.Event()
        appeared: list[float] = []
        began = time.monotonic()

        def watch() -> None:
            while not seen.wait(0.2):
                if store.exists():
                    appeared.append(time.monotonic() - began)
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            environment = {**os.environ, "TRAK_RUNS_DIR": str(runs)}
            words = [sys.executable, "-m", "trak_core", *command]
            subprocess.run(words, check=True, cwd=ROOT, env=environment)
            seconds = time.monotonic() - began
        finally:
            seen.set()
            watcher.join()
            for process in busy:
                process.kill()
    return {"seconds": seconds, "suspects_after": appeared[0], **_found(runs / name)}


def _found(run_dir: Path) -> dict[str, Any]:
    with open_run(run_dir) as run:
        made = run.info.provenance
        names = ("model", "n_checkpoints", "n_subsets", "n_subsets_measured", "n_seeds", "n_label_repeats", "training")
        quality = made.get("model_quality") or {}
        board = run.rows(
            "SELECT method, is_control OR is_baseline, lds, ci_low, ci_high, noise_ceiling, lds_fixed, fixed_low, "
            "fixed_high, fixed_ceiling FROM lds_summary JOIN methods USING (method) QUALIFY n_checkpoints = "
            "max(n_checkpoints) OVER (PARTITION BY method) ORDER BY is_control OR is_baseline, lds DESC"
        )
        return {
            "plan": {name: made.get(name) for name in names},
            "accuracy": {name: quality.get(name) for name in ("value", "guess", "linear")},
            "board": board,
            "n_suspects": len(run.rows("SELECT 1 FROM suspects WHERE signal = 'combined'")),
            "has_scores": run.has_scores,
            "n_on_map": len(run.rows("SELECT 1 FROM layout")),
        }


def told(name: str, case: Case, found: dict[str, Any]) -> list[bool]:
    """Prints a result; whether each of its targets was met."""
    out = io.StringIO()
    busy = f", with {case.n_busy} busy processes beside it" if case.n_busy else ""
    print(f"\n== {name}: {found['seconds']:.0f} s of {60 * case.minutes:.0f}{busy}", file=out)
    print(f"suspects after {found['suspects_after']:.0f} s; plan {found['plan']}", file=out)
    shares = {name: value for name, value in found["accuracy"].items() if value is not None}
    print("accuracy " + ", ".join(f"{name} {value:.3f}" for name, value in shares.items()), file=out)
    own_share = None
    for method, is_simple, lds, low, high, ceiling, fixed, fixed_low, fixed_high, fixed_ceiling in found["board"]:
        bounds = f"LDS {_number(lds)} ({_number(low)} to {_number(high)}) of {_number(ceiling)}"
        at_fixed = f"{_number(fixed)} ({_number(fixed_low)} to {_number(fixed_high)}) of {_number(fixed_ceiling)}"
        kind = "  simple" if is_simple else "  method"
        print(f"{kind} {method:16} {bounds}; at fixed class counts {at_fixed}", file=out)
        if method == "trak" and lds is not None and ceiling:
            own_share = lds / ceiling
    targets = {
        f"ends within {OVERTIME} times its minutes": found["seconds"] <= OVERTIME * 60 * case.minutes,
        "has suspects, scores and a map": bool(found["n_suspects"] and found["has_scores"] and found["n_on_map"]),
        "has LDS": own_share is not None,
    }
    if case.share is not None:
        what = f"share of the noise ceiling {_number(own_share)}, at least {case.share} - {SHARE_TOLERANCE}"
        targets[what] = own_share is not None and own_share >= case.share - SHARE_TOLERANCE
    if case.suspects_in_time:
        targets["suspects within three minutes"] = found["suspects_after"] <= SUSPECTS_SECONDS
    for target, is_met in targets.items():
        print(f"  {'met   ' if is_met else 'MISSED'} {target}", file=out)
    print(out.getvalue(), end="", flush=True)
    return list(targets.values())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    """Measures what is not measured yet, and prints everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of a data set: {', '.join(CASES)}")
    parser.add_argument("--results", type=Path, default=ROOT / "data" / "own_data_benchmark")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(CASES):
        parser.error(f"no data set is called {', '.join(sorted(unknown))}; there are: {', '.join(CASES)}")
    chosen.results.mkdir(parents=True, exist_ok=True)
    met: list[bool] = []
    for name in chosen.names or CASES:
        kept = chosen.results / f"{name}.json"
        if chosen.fresh or not kept.exists():
            with tempfile.TemporaryDirectory(dir=chosen.results) as runs:
                kept.write_text(json.dumps(measured(name, CASES[name], Path(runs))), encoding="utf-8")
        met += told(name, CASES[name], json.loads(kept.read_text(encoding="utf-8")))
    print(f"\n{len(met)} targets: {sum(met)} met, {len(met) - sum(met)} missed")
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
