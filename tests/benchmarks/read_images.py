"""Seconds and memory to read, check and store 60,000 images: prints them beside what is allowed.

Run it from the root of the repository: `python tests/benchmarks/read_images.py`. It writes Fashion-MNIST out as PNG
files in a folder for each class, or as JPEG files of another size with `--side 256`, and reads them in a fresh process.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from PIL import Image

from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.idx import read_idx_folder
from trak_core.datasets.report import DataReport
from trak_core.store.progress import BuildStatus

N_TEST = 300
"""Test images, which is all that are explained beside so many train images."""
TARGETS = {"seconds": 300.0, "megabytes": 2000.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--side", type=int, default=28, help="pixels; other than 28 gives coloured JPEG files")
    parser.add_argument("--keep", type=Path, help="keep the images in this directory")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(measure(arguments.read)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)) / "images"
        write(folder, arguments.images, arguments.side)
        packed = folder.with_suffix(".zip")
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(folder.rglob("*.*")):
                archive.write(file, file.relative_to(folder))
        columns = ("images", "check s", "store s", "all s", "allowed", "MB", "allowed")
        print(f"{'source':8}", *(f"{column:>8}" for column in columns))
        for source in (folder, packed):
            command = [sys.executable, __file__, "--read", str(source)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            seconds, kind = found["checked"] + found["stored"], source.suffix[1:] or "folder"
            print(
                f"{kind:8} {found['images']:8,} {found['checked']:8.1f} {found['stored']:8.1f} "
                f"{seconds:8.1f} {TARGETS['seconds']:8.0f} "
                f"{found['megabytes']:8.0f} {TARGETS['megabytes']:8.0f}"
            )


def write(folder: Path, n_images: int, side: int) -> None:
    """Writes the first train images of Fashion-MNIST, and some test images, into a folder for each class."""
    from tests.benchmarks.label_subjects import DATA  # brings torch with it, which reading does not need

    raw = read_idx_folder(DATA / "fashion_mnist")
    pixels = np.concatenate([raw.train.contents[:n_images], raw.test.contents[:N_TEST]])[..., 0]
    labels = np.concatenate([raw.train.labels[:n_images], raw.test.labels[:N_TEST]])
    names = [name.replace("/", " or ") for name in raw.class_names]
    for split in ("train", "test"):
        for name in names:
            (folder / split / name).mkdir(parents=True, exist_ok=True)

    def save(row: int) -> None:
        split = "train" if row < n_images else "test"
        image, file = Image.fromarray(pixels[row]), folder / split / names[labels[row]] / f"{row}"
        if side == 28:
            image.save(file.with_suffix(".png"))
        else:
            image.resize((side, side * 3 // 4)).convert("RGB").save(file.with_suffix(".jpg"))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, range(len(pixels))))


def measure(source: Path) -> dict[str, float]:
    """Seconds until images are read and checked, and until they are stored, and the highest memory of this process."""
    from trak_core.engine.custom_build import CustomBuild, build_custom_data

    began = time.perf_counter()
    found: dict[str, float] = {}

    def checked(report: DataReport) -> None:
        found["images"] = sum(report.n_train) + sum(report.n_test)
        found["checked"] = time.perf_counter() - began

    def stop_when_stored(status: BuildStatus) -> None:
        if status.step.startswith("training"):
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as runs:
        asked = CustomBuild(n_checkpoints=2, n_subsets=20, n_seeds=1)
        with contextlib.suppress(KeyboardInterrupt):
            build_custom_data(
                CustomData("image-folder", source), asked, "images", Path(runs), checked, listener=stop_when_stored
            )
    found["stored"] = time.perf_counter() - began - found["checked"]
    return {**found, "megabytes": peak_bytes() / 1e6}


def peak_bytes() -> int:
    """The highest memory of this process; `getrusage` would count that of the process that started it as well."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
