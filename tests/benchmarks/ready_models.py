"""Seconds to train each ready model once, and its test accuracy: `python tests/benchmarks/ready_models.py [MODEL ...]`.

Images are 10,000 of Fashion-MNIST, texts the 6,920 of SST-2. Without names, those that are meant for a CPU are tried.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from tests.benchmarks.label_subjects import DATA
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.sampling import sampled
from trak_core.modalities import find_modality, prepare
from trak_core.subjects import custom_recipe, find_model
from trak_core.training import train_ensemble

IMAGES = find_modality("image")
ON_A_CPU = ("mlp", "cnn", "words", "transformer")


def main() -> None:
    """Trains and prints."""
    images = sampled(CustomData("image-arrays", DATA / "fashion_mnist").read(), n_train=10_000, n_test=1_000)
    home = DATA / "sst2"
    texts = CustomData("table", home / "train.tsv", text="1", label="2", test=home / "dev.tsv", no_header=True).read()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"{'model':12} {'examples':>8} {'parameters':>10} {'seconds':>8} {'accuracy':>8}   on {device}")
    for name in sys.argv[1:] or ON_A_CPU:
        kind, raw = ("image-folder", images) if name in {model.name for model in IMAGES.models} else ("table", texts)
        takes = find_model(name, raw.modality).takes
        subject = custom_recipe(kind, prepare(raw, takes), name).load()
        train, test = (
            tuple(torch.from_numpy(values).to(device) for values in (split.inputs, split.labels))
            for split in (subject.dataset.train, subject.dataset.test)
        )
        masks = torch.ones(1, len(train[1]), dtype=torch.bool).numpy()
        began = time.perf_counter()
        ensemble = train_ensemble(subject.make_model, subject.task, *train, masks, [0], subject.training)
        accuracy = float((ensemble.outputs(subject.task, test[0])[0].argmax(-1) == test[1]).float().mean())
        seconds = time.perf_counter() - began
        n_parameters = sum(value.numel() for value in subject.make_model().parameters())
        print(f"{name:12} {len(train[1]):8,} {n_parameters:10,} {seconds:8.1f} {accuracy:8.3f}", flush=True)


if __name__ == "__main__":
    main()
