"""Section of `attribution_core.py`: all 60,000 training images of Fashion-MNIST, fitted in a process of its own."""

import gzip
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.benchmarks.core_report import Report
from trak_core import Attributor

__all__ = ["fashion_is_available", "fit_fashion", "measure_fashion"]

FASHION = Path(__file__).resolve().parents[3] / "shared" / "data" / "fashion_mnist"
PROJ_DIM = 1024
EPOCHS = 3
N_QUERIES = 20
N_WARM_UP = 2
K = 100
GB = 1e9


def fashion_is_available() -> bool:
    """Whether the data lie where they are looked for."""
    return (FASHION / "train-images-idx3-ubyte.gz").is_file()


def load_fashion(split: str) -> tuple[Tensor, Tensor]:
    """Images `[n, 1, 28, 28]` from 0 to 1 and labels `[n]` of "train" or "t10k"."""
    with gzip.open(FASHION / f"{split}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(FASHION / f"{split}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), dtype=np.uint8, offset=8)
    images = torch.empty(pixels.shape, dtype=torch.float32)
    for start in range(0, len(pixels), 10_000):  # in parts, so that no second copy of all is ever held
        images[start : start + 10_000] = torch.from_numpy(pixels[start : start + 10_000] / np.float32(255))
    return images, torch.from_numpy(labels.astype(np.int64))


def make_fashion_model() -> nn.Module:
    """A CNN of 99,550 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 60),
        nn.ReLU(),
        nn.Linear(60, 10),
    )


def measure_fashion(report: Report, script: Path) -> None:
    """Trains the model and lets `script --fashion-fit` do everything that is measured."""
    report.section(f"fashion: Fashion-MNIST, 60,000 training images, 1 checkpoint, proj_dim {PROJ_DIM}")
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        model = _train()
        report.say(
            f"CNN of {sum(parameter.numel() for parameter in model.parameters()):,} parameters, {EPOCHS} epochs: test "
            f"accuracy {_accuracy(model):.4f}"
        )
        torch.save(model.state_dict(), directory / "model.pt")
        command = [sys.executable, str(script), "--fashion-fit", str(directory)]
        command += ["--threads", str(torch.get_num_threads())]
        subprocess.run(command, check=True)
        found = json.loads((directory / "found.json").read_text())
        stored = sum(
            path.stat().st_size for path in directory.rglob("*") if path.is_file() and path.parent != directory
        )
    report.say(found["plan"])
    report.say(f"fit: {found['wall']:.1f} s on the clock, {found['cpu']:.1f} CPU s")
    report.check("minutes of fit on the clock", found["wall"] / 60, "at most", 15, " min")
    report.say(
        f"peak memory: {found['peak_before'] / GB:.2f} GB with the data loaded, {found['peak_fit'] / GB:.2f} GB after "
        f"fit, {found['peak'] / GB:.2f} GB after the queries (ru_maxrss {found['ru_maxrss'] / GB:.2f} GB)"
    )
    report.check("peak memory of the process", found["peak"] / GB, "at most", 2, " GB")
    first, times = found["first_query"], found["queries"]
    report.say(
        f"proponents of one new test image, k={K}: first call {first * 1e3:.0f} ms, then least {min(times) * 1e3:.1f}, "
        f"median {statistics.median(times) * 1e3:.1f}, most {max(times) * 1e3:.1f} ms of {N_QUERIES}; "
        f"{found['same_class']:.0%} of them carry the label that the model gives the image"
    )
    report.check("median of a query", statistics.median(times) * 1e3, "at most", 100, " ms")
    report.say(f"store on disk: {stored / 1e6:.0f} MB (features alone: {60_000 * PROJ_DIM * 4 / 1e6:.0f} MB)")


def _train() -> nn.Module:
    torch.manual_seed(0)
    model = make_fashion_model()
    images, labels = load_fashion("train")
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels)).split(128):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def _accuracy(model: nn.Module) -> float:
    images, labels = load_fashion("t10k")
    return float((torch.cat([model(part) for part in images.split(1000)]).argmax(1) == labels).float().mean())


def fit_fashion(directory: Path) -> None:
    """What the process of its own does: fits, asks, and writes `found.json` into the directory."""
    model = make_fashion_model()
    model.load_state_dict(torch.load(directory / "model.pt"))
    train = load_fashion("train")
    test_images = load_fashion("t10k")[0][: N_WARM_UP + N_QUERIES].clone()
    peak_before = _peak_bytes()
    wall = time.perf_counter()
    attributor = Attributor(model, proj_dim=PROJ_DIM, device="cpu", store=directory / "store", progress=False).fit(
        train
    )
    wall = time.perf_counter() - wall
    peak_fit = _peak_bytes()
    seconds, agreeing = [], []
    for i in range(len(test_images)):
        began = time.perf_counter()
        found = attributor.proponents(test_images[i : i + 1], k=K)
        seconds.append(time.perf_counter() - began)
        answer = model(test_images[i : i + 1]).argmax(1)
        agreeing.append(float((train[1][found["train_idx"].tolist()] == answer).float().mean()))
    figures = {
        "plan": str(attributor.plan),
        "wall": wall,
        "cpu": attributor.cpu_seconds,
        "peak_before": peak_before,
        "peak_fit": peak_fit,
        "peak": _peak_bytes(),
        "ru_maxrss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "first_query": seconds[0],
        "queries": seconds[N_WARM_UP:],
        "same_class": statistics.mean(agreeing),
    }
    attributor.close()
    (directory / "found.json").write_text(json.dumps(figures))


def _peak_bytes() -> int:
    """Peak resident memory of this process.

    Linux hands ru_maxrss of the parent down to a child that is started by vfork; VmHWM begins anew with each program.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
