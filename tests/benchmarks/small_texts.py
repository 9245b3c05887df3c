"""Whether models learn from few texts, and from texts in any script: `python tests/benchmarks/small_texts.py`.

300 rows of SST-2 and of TREC, five draws of each, tested on 2,000 of the other rows: the usual model, trained as a
build trains it, beside logistic regression on the same words. Then the Chinese and the Hindi reviews of the cases, each
from its file to the accuracy on the fifth that the reader puts aside. Exit status 1 where a target is missed.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from tests.benchmarks.label_subjects import DATA
from tests.benchmarks.own_data import trec
from trak_core.datasets.custom_data import CustomData
from trak_core.modalities import Dataset, RawData, RawSplit, find_modality, prepare
from trak_core.subjects import find_model
from trak_core.subjects.custom_data import custom_subject
from trak_core.training import Sizing, VmapTrainer, choose_steps

N_TRAIN, N_TEST, N_DRAWS, N_MODELS = 300, 2_000, 5, 3
LESS = 0.02
"""Accuracy that the model may be behind logistic regression, in the mean of the draws."""
CASES = {"chinese": 0.95, "hindi": 0.95}


def read_rows(name: str) -> RawData:
    """All rows of SST-2 or TREC's train files, read as a table and left in their order."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / f"{name}.csv"
        if name == "trec":
            trec()(Path(folder))
        else:
            rows = (DATA / "sst2" / "train.tsv").read_text(encoding="utf-8").splitlines()
            with table.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("question", "kind"), *(row.split("\t") for row in rows)])
        raw = CustomData("table", table, text="question", label="kind").read()
    texts = [*raw.train.contents, *raw.test.contents]
    labels = np.concatenate([raw.train.labels, raw.test.labels])
    return replace(raw, train=RawSplit(texts, labels), test=RawSplit([], labels[:0]))


def drawn(raw: RawData, seed: int) -> RawData:
    """300 rows to train on, and 2,000 of the others."""
    order = np.random.default_rng(seed).permutation(len(raw.train))
    rows, others = order[:N_TRAIN], order[N_TRAIN : N_TRAIN + N_TEST]
    return replace(raw, train=raw.train.take(rows), test=raw.train.take(others))


def trained(raw: RawData) -> tuple[Dataset, Sizing, NDArray[np.bool_], float]:
    """The data set for the usual model, its training, what is right `[n_models, n_test]`, and seconds to choose."""
    modality = find_modality(raw.modality)
    model = find_model(modality.usual_model(raw.train.contents), raw.modality)
    dataset = prepare(raw, model.takes)
    subject = custom_subject(dataset, model)
    trainer = subject.trainer("cpu")
    assert isinstance(trainer, VmapTrainer)
    began = time.perf_counter()
    sizing = choose_steps(trainer, seed=0)
    seconds = time.perf_counter() - began
    masks = np.ones((N_MODELS, len(dataset.train)), dtype=bool)
    models = replace(trainer, settings=sizing.settings).train_subsets(masks, range(N_MODELS))
    inputs, labels = torch.from_numpy(dataset.test.inputs), torch.from_numpy(dataset.test.labels)
    return dataset, sizing, models.right(subject.task, models.outputs(subject.task, inputs), labels), seconds


def linear_accuracy(dataset: Dataset) -> float:
    """Of logistic regression on the same inputs."""
    model = LogisticRegression(max_iter=1000).fit(dataset.train.inputs, dataset.train.labels)
    return float(model.score(dataset.test.inputs, dataset.test.labels))


def compare(name: str, n_draws: int = N_DRAWS) -> list[tuple[float, float]]:
    """Accuracies of the usual model, the mean of three, and of logistic regression, for each draw of 300 rows."""
    raw, found = read_rows(name), []
    for seed in range(n_draws):
        dataset, sizing, right, seconds = trained(drawn(raw, seed))
        found.append((float(right.mean()), linear_accuracy(dataset)))
        shares = np.bincount(dataset.test.labels) / len(dataset.test)
        print(
            f"{name:8} draw {seed}: {sizing.settings.steps:5} steps (chosen in {seconds:.1f} s), accuracy "
            f"{found[-1][0]:.3f}, logistic regression {found[-1][1]:.3f}, majority {shares.max():.3f}",
            flush=True,
        )
    return found


def case_accuracy(name: str) -> float:
    """Accuracy of the usual model on the fifth that is put aside, the mean of three."""
    raw = CustomData("table", DATA.parent / "cases" / name / "reviews.csv", text="text", label="label").read()
    dataset, sizing, right, seconds = trained(raw)
    print(
        f"{name:8} {len(dataset.train)} texts: {sizing.settings.steps:5} steps (chosen in {seconds:.1f} s), accuracy "
        f"{right.mean():.3f}, logistic regression {linear_accuracy(dataset):.3f}",
        flush=True,
    )
    return float(right.mean())


def main(names: Sequence[str] = ("sst2", "trec")) -> int:
    """Measures and prints; returns the number of targets missed."""
    verdicts = []

    def judge(what: str, value: float, least: float) -> None:
        verdicts.append(value >= least)
        print(f"  {'met   ' if verdicts[-1] else 'MISSED'} {what}: {value:+.3f}, at least {least:+.3f}")

    for name in names:
        differences = np.array([ours - linear for ours, linear in compare(name)])
        judge(f"{name}, less logistic regression, mean of {N_DRAWS} draws", float(differences.mean()), -LESS)
    for name, least in CASES.items():
        judge(f"{name}, accuracy", case_accuracy(name), least)
    missed = verdicts.count(False)
    print(f"\n{len(verdicts)} targets: {len(verdicts) - missed} met, {missed} missed")
    return missed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
