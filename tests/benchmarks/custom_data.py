"""Own data from the command line to measured evidence, within a budget of time.

    python tests/benchmarks/custom_data.py images|sst2|trec [--minutes 10] [--runs DIR]

writes 5,000 Fashion-MNIST images as PNG in a folder for each class, or SST-2 and TREC as tables, gives the one command
that a person would, and prints how long it took, the LDS with its interval, and that of every baseline.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image

from tests.benchmarks.label_subjects import DATA
from trak_core.store.run import open_run

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def write_images(folder: Path, start: int = 0, n: int = 5000) -> None:
    """Fashion-MNIST train images from `start` on, as FOLDER/CLASS/NUMBER.png."""
    with gzip.open(DATA / "fashion_mnist" / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
    with gzip.open(DATA / "fashion_mnist" / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read()[8:], np.uint8)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for number in range(start, start + n):
        Image.fromarray(pixels[number]).save(folder / CLASSES[labels[number]] / f"{number:05}.png")


def write_trec(path: Path) -> None:
    """TREC's train questions as a CSV file with a header."""
    lines = (DATA / "trec" / "train_5500.label").read_text(encoding="latin-1").splitlines()
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["question", "kind"])
        for line in lines:
            label, text = line.split(" ", 1)
            table.writerow([text, label.split(":")[0]])


def command_of(what: str, folder: Path) -> list[str]:
    """The arguments of `python -m trak_core` that build a run; what they read is written first."""
    if what == "images":
        write_images(folder / "fashion")
        return ["build", "image-folder", str(folder / "fashion")]
    if what == "trec":
        write_trec(folder / "trec.csv")
        return ["build", "table", str(folder / "trec.csv"), "--text", "question", "--label", "kind"]
    home = DATA / "sst2"
    tables = [str(home / "train.tsv"), "--test", str(home / "dev.tsv")]
    return ["build", "table", *tables, "--text", "1", "--label", "2", "--no-header"]


def main() -> None:
    """Builds and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["images", "sst2", "trec"])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        runs = chosen.runs or Path(directory) / "runs"
        command = [*command_of(chosen.what, Path(directory)), "--minutes", f"{chosen.minutes:g}", "--name", chosen.what]
        print("python -m trak_core", " ".join(command).replace(directory, "DIR"), flush=True)
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "trak_core", *command],
            check=True,
            cwd=ROOT,
            env={**os.environ, "TRAK_RUNS_DIR": str(runs)},
        )
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{time.monotonic() - began:.0f} s of {60 * chosen.minutes:.0f} s, {used.ru_utime + used.ru_stime:.0f} CPU "
            f"s, at most {used.ru_maxrss / 2**20:.2f} GiB"
        )
        with open_run(runs / chosen.what) as run:
            made = run.info.provenance
            print({name: made[name] for name in ("model", "n_checkpoints", "n_subsets", "n_seeds", "kernel")})
            for row in run.rows(
                "SELECT method, lds, ci_low, ci_high, noise_ceiling FROM lds_summary "
                "WHERE n_checkpoints = (SELECT max(n_checkpoints) FROM lds_summary) OR method <> 'trak' "
                "ORDER BY lds DESC"
            ):
                print("{:10} LDS {:.3f} ({:.3f} to {:.3f}), ceiling {:.3f}".format(*row))


if __name__ == "__main__":
    main()
