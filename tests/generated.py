"""Writes a run of any size without training anything, so that the explorer can be tried at its full size.

`python -m tests.generated DIRECTORY` writes 50,000 training and 1,000 test examples. Everything comes from one seed.
An example is a handwritten digit, shifted and with noise of its own; its latent vector is the mean of its class, plus a
direction it shares with some others, plus noise. Scores are products of latent vectors, positive for training examples
of the class that is explained, so that rankings have the shape of real ones; retrained outcomes are sums of scores plus
noise, and LDS is really measured on them. It is written block by block with the store's own writer: memory stays flat.
"""

import argparse
import hashlib
import io
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trak_core.datasets import load_digits
from trak_core.engine.evidence_step import fixed_counts, lds_columns, mean_columns
from trak_core.evidence.lds import (
    LdsEvidence,
    lds_interval,
    lds_per_test,
    measure_lds,
    noise_ceiling,
    noise_ceiling_per_test,
)
from trak_core.labels.findings import Finding, finding_columns
from trak_core.labels.signals import suspect_columns
from trak_core.methods import METHODS
from trak_core.store.files import RunFiles
from trak_core.store.ledger import outcome_columns, subset_columns, target_outcome_columns
from trak_core.store.run_tables import (
    class_influence_columns,
    example_columns,
    feature_columns,
    joined,
    method_columns,
    prediction_columns,
    run_meta,
    score_tables,
    self_influence_columns,
    target_score_columns,
)
from trak_core.store.schema import Shape
from trak_core.store.writer import StoreWriter, build_lock

__all__ = ["BIG", "MEDIUM", "SMALL", "Size", "write_run"]

Floats = NDArray[np.float32]
Columns = dict[str, Any]
OWN, OTHER = "trak", "embedding"
N_CLASSES = 10
PIXELS = 28
GROUPS = 40
"""Directions that examples share within a class, as strokes of one hand do."""
BLOCK = 4096
ROWS_AT_ONCE = 32
FLIPPED = 0.02
"""Share of the training labels that are wrong."""
SIGNALS = {
    "combined": 0.3,
    "out_of_fold": 0.4,
    "second_look": 0.4,
    "neighbours": 0.6,
    "training_margin": 0.5,
    "disagreement": 0.8,
    "confidence": 1.0,
    "self_influence": 0.5,
    "tracin_self_influence": 0.7,
    "own_class_opponents": 1.0,
}
"""Signals of label suspicion, each with the noise that it sees through."""


@dataclass(frozen=True)
class Size:
    """How much is written.

    Attributes:
        n_train: training examples.
        n_test: test examples.
        n_all_classes: first test examples with scores for all ten classes; others have those of answer and label.
        n_checkpoints: models with predictions and features.
        proj_dim: length of the features.
        n_subsets: retrained halves.
        n_seeds: models on each.
        seed: of everything.
    """

    n_train: int
    n_test: int
    n_all_classes: int
    n_checkpoints: int = 2
    proj_dim: int = 64
    n_subsets: int = 20
    n_seeds: int = 2
    seed: int = 0


BIG = Size(50_000, 1_000, 100)
MEDIUM = Size(5_000, 200, 20)
SMALL = Size(500, 40, 10)


@dataclass(frozen=True)
class _Split:
    """Examples as they are before anything is written.

    Attributes:
        name: "train" or "test".
        truth: true classes `[n]`.
        labels: given classes `[n]`, some of them wrong in the training set.
        latent: `[n, proj_dim]`.
    """

    name: str
    truth: NDArray[np.int64]
    labels: NDArray[np.int64]
    latent: Floats


class _Material:
    """The examples, and every number that follows from them."""

    def __init__(self, size: Size) -> None:
        self.size = size
        random = np.random.default_rng([size.seed, 1])
        self.means = random.standard_normal((N_CLASSES, size.proj_dim)).astype(np.float32)
        self.directions = random.standard_normal((N_CLASSES, GROUPS, size.proj_dim)).astype(np.float32)
        self.train = self._split("train", size.n_train, random)
        self.test = self._split("test", size.n_test, random)
        self.masks = random.random((size.n_subsets, size.n_train)) < 0.5
        digits = load_digits().train
        self.pictures = [
            [_enlarged(digits.thumbnails[i]) for i in np.flatnonzero(np.asarray(digits.labels) == c)[:40]]
            for c in range(N_CLASSES)
        ]

    def _split(self, name: str, n: int, random: np.random.Generator) -> _Split:
        truth = random.integers(0, N_CLASSES, n)
        group = (GROUPS * random.random(n) ** 2).astype(int)  # some are large, some small
        noise = random.standard_normal((n, self.size.proj_dim))
        latent = 0.55 * self.means[truth] + 0.6 * self.directions[truth, group] + 0.75 * noise
        labels = truth.copy()
        if name == "train":
            wrong = random.random(n) < FLIPPED
            labels[wrong] = (truth[wrong] + random.integers(1, N_CLASSES, int(wrong.sum()))) % N_CLASSES
        return _Split(name, truth, labels, latent.astype(np.float32))

    def features(self, split: _Split, checkpoint_id: int, where: slice) -> Floats:
        """Latent vectors as a checkpoint sees them: `[n, proj_dim]`."""
        random = np.random.default_rng([self.size.seed, 2, checkpoint_id, split.name == "test", where.start])
        seen = split.latent[where]
        return seen + 0.2 * random.standard_normal(seen.shape, dtype=np.float32)

    def probabilities(self, split: _Split, checkpoint_id: int, where: slice) -> Floats:
        """What a checkpoint says: `[n, n_classes]`."""
        logits = 0.4 * self.features(split, checkpoint_id, where) @ self.means.T
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def answers(self) -> NDArray[np.int64]:
        """The answers for the test examples, averaged over checkpoints: `[n_test]`."""
        by_block = [  # noise goes by block, so these are the blocks of the store
            np.mean([self.probabilities(self.test, i, where) for i in range(self.size.n_checkpoints)], axis=0)
            for where in _blocks(self.size.n_test, BLOCK)
        ]
        return np.concatenate(by_block).argmax(1)

    def scores(self, method: str, tests: NDArray[np.int64], classes: NDArray[np.int64]) -> Floats:
        """Scores `[n, n_train]` of some test examples for some classes."""
        products = self.test.latent[tests] @ self.train.latent.T / np.float32(self.size.proj_dim)
        same = self.train.labels[None] == classes[:, None]
        if method == OTHER:
            return products
        random = np.random.default_rng([self.size.seed, 3, int(tests[0]), int(classes[0])])
        noise = random.standard_normal(products.shape, dtype=np.float32)
        unit = np.float32(20.0 / self.size.n_train)
        return unit * (np.where(same, 1.0, -0.25).astype(np.float32) * products**3 + 0.1 * noise)

    def thumbnail(self, split: _Split, idx: int) -> bytes:
        """A digit of the true class, shifted, with noise of its own: WebP."""
        random = np.random.default_rng([self.size.seed, 4, split.name == "test", idx])
        picture = self.pictures[split.truth[idx]][int(random.integers(40))]
        moved = np.roll(picture, random.integers(-2, 3, 2), axis=(0, 1))
        noisy = np.clip(moved + 6 * random.standard_normal(moved.shape), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "WEBP", quality=70, method=0)
        return buffer.getvalue()


def _enlarged(thumbnail: bytes) -> Floats:
    with Image.open(io.BytesIO(thumbnail)) as image:
        return np.asarray(image.convert("L").resize((PIXELS, PIXELS), Image.Resampling.BICUBIC), dtype=np.float32)


def _blocks(n: int, length: int) -> Iterator[slice]:
    for start in range(0, n, length):
        yield slice(start, min(n, start + length))


def write_run(run_dir: Path, size: Size) -> Path:
    """The directory of a run of that size, written unless it is there."""
    files = RunFiles(run_dir)
    if files.store.exists():
        return run_dir
    fingerprint = hashlib.sha256(json.dumps(asdict(size), sort_keys=True).encode()).hexdigest()
    material = _Material(size)
    with (
        build_lock(files),
        StoreWriter(files, Shape(size.n_train, N_CLASSES, size.proj_dim), fingerprint) as writer,
    ):
        for split in (material.train, material.test):
            for where in _blocks(len(split.labels), BLOCK):
                writer.write(f"{split.name} {where.start}", _examples(material, split, where))
        predicted = _write_scores(writer, material)
        writer.write("class influence", {"class_influence": _class_influence(writer, material)})
        writer.write("evidence", *_evidence(material, predicted))
        writer.write("examples at a glance", _at_a_glance(material))
        writer.write("about", *_about(material, fingerprint))
        writer.publish()
        writer.finish()
    return run_dir


def _examples(material: _Material, split: _Split, where: slice) -> dict[str, Columns]:
    idx = np.arange(where.start, where.stop)
    labels = split.labels[where]
    predictions, features = [], []
    for checkpoint_id in range(material.size.n_checkpoints):
        probabilities = material.probabilities(split, checkpoint_id, where)
        p_label = np.clip(probabilities[np.arange(len(idx)), labels], 1e-6, 1 - 1e-6)
        phi = material.features(split, checkpoint_id, where)
        predictions.append(
            prediction_columns(
                [checkpoint_id],
                split.name,
                np.log(p_label / (1 - p_label))[None],
                loss=-np.log(p_label),
                p_label=p_label,
                predicted=probabilities.argmax(1),
                probabilities=probabilities,
                first=where.start,
            )
        )
        norm = np.linalg.norm(phi, axis=1)
        features.append(feature_columns(checkpoint_id, split.name, 1 - p_label, norm, phi, where.start))
    examples = example_columns(
        split.name,
        labels,
        [str(label) for label in labels],
        thumbnails=[material.thumbnail(split, i) for i in idx.tolist()],
        first=where.start,
    )
    return {"examples": examples, "predictions": joined(predictions), "features": joined(features)}


@dataclass(frozen=True)
class _Predicted:
    """Sums of scores over the members of the subsets: what LDS compares with outcomes.

    Attributes:
        of_label: method to `[n_subsets, n_test]`.
        of_target: (test_idx, target) to `[n_subsets]`, for the own method.
    """

    of_label: dict[str, NDArray[np.float64]]
    of_target: dict[tuple[int, int], NDArray[np.float64]]


def _write_scores(writer: StoreWriter, material: _Material) -> _Predicted:
    size, labels, answers = material.size, material.test.labels, material.answers()
    masks = material.masks.astype(np.float32)
    predicted = _Predicted({name: np.empty((size.n_subsets, size.n_test)) for name in (OWN, OTHER)}, {})
    for where in _blocks(size.n_test, ROWS_AT_ONCE):
        tests = np.arange(where.start, where.stop)
        for method in (OWN, OTHER):
            values = material.scores(method, tests, labels[where])
            predicted.of_label[method][:, where] = masks @ values.T
            errors = np.abs(values) * np.float32(0.1) if method == OWN else None
            writer.write(f"scores {method} {where.start}", score_tables(method, values, where.start, errors))
    pairs = [
        (test_idx, c)
        for test_idx in range(size.n_test)
        for c in (range(N_CLASSES) if test_idx < size.n_all_classes else (answers[test_idx],))
        if c != labels[test_idx]
    ]
    for where in _blocks(len(pairs), ROWS_AT_ONCE):
        tests, classes = np.array(pairs[where], dtype=np.int64).T
        values = material.scores(OWN, tests, classes)
        sums = masks @ values.T
        predicted.of_target.update({(int(t), int(c) + 1): sums[:, i] for i, (t, c) in enumerate(pairs[where])})
        columns = target_score_columns(OWN, tests, classes + 1, values)
        writer.write(f"target scores {where.start}", {"target_scores": columns})
    writer.write("targets", {"targets": _targets(labels, [*predicted.of_target])})
    return predicted


def _targets(labels: NDArray[np.int64], pairs: list[tuple[int, int]]) -> Columns:
    """The targets that have scores, by name."""
    own = [(test_idx, 0, str(label)) for test_idx, label in enumerate(labels)]
    rows = own + [(test_idx, target, str(target - 1)) for test_idx, target in pairs]
    return {
        name: list(column) for name, column in zip(("test_idx", "target", "name"), zip(*rows, strict=True), strict=True)
    }


def _class_influence(writer: StoreWriter, material: _Material) -> Columns:
    query = (
        'SELECT "values" FROM scores WHERE method = ? AND test_idx IN (SELECT unnest(?::INTEGER[])) ORDER BY test_idx'
    )
    columns = [
        class_influence_columns(
            method,
            material.test.labels,
            lambda tests, method=method: writer.arrays(query, "values", [method, tests.tolist()]),
        )
        for method in (OWN, OTHER)
    ]
    return joined(columns)


def _evidence(material: _Material, predicted: _Predicted) -> tuple[dict[str, Columns], Columns]:
    """Subsets, outcomes, LDS and removal, with the facts about them."""
    size, random = material.size, np.random.default_rng([material.size.seed, 5])
    own = predicted.of_label[OWN]
    spread = own.std(0, keepdims=True)
    noise = 0.5 * spread[:, None] * random.standard_normal((size.n_subsets, size.n_seeds, size.n_test))
    common = 0.8 * spread * random.standard_normal(own.shape)  # what scores cannot predict
    outcomes = (0.9 * own + common)[:, None] + noise  # [n_subsets, n_seeds, n_test]
    actual = outcomes.mean(1)
    ceiling, ceilings = noise_ceiling(outcomes), noise_ceiling_per_test(outcomes)
    fixed = fixed_counts(material.masks, material.train.labels)
    at_fixed = None if fixed is None else noise_ceiling_per_test(fixed.residuals(outcomes))
    found = {
        name: measure_lds(sums, actual, size.seed, n_bootstrap=100, fixed=fixed)
        for name, sums in predicted.of_label.items()
    }
    tables: dict[str, Columns] = {
        "subsets": subset_columns(material.masks, ["eval"] * size.n_subsets),
        "outcomes": outcome_columns(range(size.n_subsets), outcomes),
        "lds": joined([_lds_columns(name, each, ceilings, at_fixed) for name, each in found.items()]),
        "lds_summary": joined(
            [_summary_columns(name, each, ceiling, size) for name, each in found.items()]
            + [_summary_columns(OWN, found[OWN], ceiling, size, n_checkpoints=1, loss=0.05)]
        ),
        "removals": _removals(material),
    }
    tables["target_outcomes"], tables["target_lds"] = _of_targets(material, predicted, actual, ceilings, random)
    facts = {"removal_sizes": [5, 10, 20], "removal_method": OWN}
    return tables, facts


def _lds_columns(
    method: str, found: LdsEvidence, ceilings: NDArray[np.float64], at_fixed: NDArray[np.float64] | None
) -> Columns:
    fixed = found.fixed
    return {
        "method": [method] * len(ceilings),
        "test_idx": np.arange(len(ceilings)),
        **lds_columns(
            (found.per_test, found.per_test_low, found.per_test_high, ceilings),
            None if fixed is None else (fixed.per_test, fixed.per_test_low, fixed.per_test_high, at_fixed),
            beats=None,
            cap="high",
        ),
    }


def _summary_columns(
    method: str, found: LdsEvidence, ceiling: float, size: Size, n_checkpoints: int | None = None, loss: float = 0.0
) -> Columns:
    return {
        "method": [method],
        "n_checkpoints": [n_checkpoints or size.n_checkpoints],
        **{name: [None if mean is None else mean - loss] for name, mean in mean_columns(found).items()},
        "noise_ceiling": [ceiling],
        "n_subsets": [size.n_subsets],
        "n_seeds": [size.n_seeds],
        "seconds": [120.0],
        "calibration_slope": [0.9],
        "peak_megabytes": [300.0],
    }


def _of_targets(
    material: _Material,
    predicted: _Predicted,
    actual: NDArray[np.float64],
    ceilings: NDArray[np.float64],
    random: np.random.Generator,
) -> tuple[Columns, Columns]:
    """Rows of `target_outcomes` and of `target_lds`."""
    size = material.size
    margins = random.standard_normal((size.n_subsets, size.n_test, N_CLASSES))
    margins[:, np.arange(size.n_test), material.test.labels] = actual
    for (test_idx, target), sums in predicted.of_target.items():
        margins[:, test_idx, target - 1] = sums + 0.8 * sums.std() * random.standard_normal(size.n_subsets)
    tests, targets = np.array(list(predicted.of_target), dtype=np.int64).T
    lds = lds_per_test(np.stack(list(predicted.of_target.values()), axis=1), margins[:, tests, targets - 1])
    return (
        target_outcome_columns(range(size.n_subsets), margins[:, None]),
        {
            "method": [OWN] * len(tests),
            "test_idx": tests,
            "target": targets,
            **lds_columns((lds, *lds_interval(lds, size.n_subsets), ceilings[tests]), None, beats=None, cap="high"),
        },
    )


def _removals(material: _Material) -> Columns:
    """Falls of the margin that grow with the number removed, for ten test examples."""
    random = np.random.default_rng([material.size.seed, 6])
    rows = [
        (method, test_idx, k, strength * k**0.5 * (1 + 0.2 * random.standard_normal()))
        for method, strength in ((OWN, 0.4), (OTHER, 0.15))
        for test_idx in range(10)
        for k in (5, 10, 20)
    ]
    methods, tests, sizes, falls = (list(column) for column in zip(*rows, strict=True))
    return {
        "method": methods,
        "test_idx": tests,
        "k": sizes,
        "model_output": [1.0 - fall for fall in falls],
        "flipped": [fall > 1.0 for fall in falls],
        "unremoved": [1.0] * len(rows),
        "standard_error": [0.05] * len(rows),
        "n_seeds": [3] * len(rows),
    }


def _at_a_glance(material: _Material) -> dict[str, Columns]:
    """Self-influence, suspects and places on the map."""
    size, random = material.size, np.random.default_rng([material.size.seed, 7])
    train = material.train
    wrong = (train.truth != train.labels).astype(float)
    own = np.linalg.norm(train.latent, axis=1) / size.proj_dim**0.5 + wrong
    signals = {name: own + noise * random.standard_normal(size.n_train) for name, noise in SIGNALS.items()}
    plane = random.standard_normal((size.proj_dim, 2)) / size.proj_dim**0.5
    layout = []
    for split in (train, material.test):
        places = 3 * split.latent @ plane + random.standard_normal((len(split.labels), 2)) * 0.2
        layout.append(
            {
                "split": [split.name] * len(places),
                "idx": np.arange(len(places)),
                "space": ["gradients"] * len(places),
                "x": places[:, 0],
                "y": places[:, 1],
            }
        )
    return {
        "self_influence": self_influence_columns(OWN, own),
        "suspects": _suspects(signals, train),
        "findings": _findings(size),
        "layout": joined(layout),
    }


def _suspects(signals: dict[str, NDArray[np.float64]], train: _Split) -> Columns:
    """Suspects whose true class is suggested; two wrong labels in three are called likely wrong."""
    is_wrong = train.truth != train.labels
    likely = is_wrong & (np.arange(len(is_wrong)) % 3 > 0)
    return suspect_columns(signals, train.truth, np.where(is_wrong, 0.9, 0.2), likely)


def _findings(size: Size) -> Columns:
    """Findings of every kind: the first examples are near-duplicates in pairs, the next ones leaks, and so on."""
    share = size.n_train // 50
    found = [Finding("near_duplicate", i, 1 - i / size.n_train, "train", i ^ 1) for i in range(2 * (share // 2))]
    found += [Finding("leak", share + i, 0.9, "test", i) for i in range(min(5, size.n_test))]
    for place, kind in enumerate(("outlier", "ambiguous", "under_represented"), start=2):
        found += [Finding(kind, place * share + i, 1 - i / size.n_train) for i in range(share)]
    return finding_columns(found)


def _about(material: _Material, fingerprint: str) -> tuple[dict[str, Columns], Columns]:
    """Checkpoints, methods and the facts of the run."""
    size = material.size
    ids = list(range(size.n_checkpoints))
    infos = [METHODS[name].info for name in (OWN, OTHER)]
    right = float((material.answers() == material.test.labels).mean())
    tables = {
        "checkpoints": {
            "checkpoint_id": ids,
            "seed": ids,
            "sha256": [hashlib.sha256(f"{fingerprint} {i}".encode()).hexdigest() for i in ids],
            "train_accuracy": [right] * len(ids),
            "test_accuracy": [right] * len(ids),
        },
        "methods": joined(
            [
                method_columns(
                    info.name,
                    info.title,
                    info.description,
                    fingerprint,
                    is_baseline=info.is_baseline,
                    seconds=seconds,
                    calibration=calibration,
                    settings={},
                )
                for info, seconds, calibration in zip(infos, (120.0, 3.0), (1.0, None), strict=True)
            ]
        ),
    }
    facts = run_meta(
        recipe="generated",
        title="Generated digits",
        modality="image",
        class_names=[str(c) for c in range(N_CLASSES)],
        task="Classification",
        method=OWN,
        proj_dim=size.proj_dim,
        n_subsets=size.n_subsets,
        n_seeds=size.n_seeds,
        seed=size.seed,
        device="cpu",
        n_checkpoints=size.n_checkpoints,
        ridge=1.0,
        calibration=1.0,
        calibration_of_other_targets=1.0,
        calibration_slope_of_other_targets=0.9,
        fingerprint=fingerprint,
        complete=True,
        measured_every_method=True,
    )
    facts |= {"created_at": "2000-01-01T00:00:00Z"}
    return tables, facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--train", type=int, default=BIG.n_train)
    parser.add_argument("--test", type=int, default=BIG.n_test)
    arguments = parser.parse_args()
    began = time.monotonic()
    write_run(arguments.run_dir, Size(arguments.train, arguments.test, min(BIG.n_all_classes, arguments.test)))
    megabytes = RunFiles(arguments.run_dir).store.stat().st_size / 1e6
    print(f"{arguments.run_dir}: {megabytes:.0f} MB in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
