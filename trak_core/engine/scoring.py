"""Scores of every method over all checkpoints, with a ridge chosen on the ledger's fitting subsets."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.engine.kernels import Kernels
from trak_core.evidence import calibration_slope, lds_per_test, predicted_outcomes
from trak_core.gradients import representations
from trak_core.inputs import apply
from trak_core.methods import (
    METHODS,
    RIDGES,
    embedding_scores,
    random_scores,
    same_class_scores,
)
from trak_core.store.class_influence import class_influence_columns
from trak_core.store.topk import topk_columns
from trak_core.tasks import Inputs, Targets, Task
from trak_core.training import Ensemble

__all__ = ["ScoringResult", "choose_ridge", "score_all_methods"]

CHECKPOINT_COUNTS = (1, 2, 5, 10, 20, 50, 100)

Examples = tuple[Inputs, Tensor]
Scores = NDArray[np.float32]


def choose_ridge(
    checkpoints: Ensemble,
    task: Task,
    train: Examples,
    test: Examples,
    kernels: Kernels,
    fit_masks: NDArray[np.bool_],
    fit_outcomes: NDArray[np.float64],
    on_checkpoint: Callable[[], None] = lambda: None,
) -> tuple[float, dict[str, float]]:
    """The candidate ridge with the highest LDS on the fitting subsets, and the LDS of every candidate.

    Args:
        checkpoints: models to average over.
        task: what a prediction is.
        train: inputs and labels of the train examples.
        test: inputs and labels of the test examples.
        kernels: of the checkpoints.
        fit_masks: bool `[n_fit, n_train]`.
        fit_outcomes: mean outcomes `[n_fit, n_test]`.
        on_checkpoint: called after every checkpoint.
    """
    q = mean_out_to_loss(checkpoints, task, train)
    weighted_masks = torch.from_numpy(fit_masks).to(q) * q
    predicted = {ridge: np.zeros_like(fit_outcomes) for ridge in RIDGES}
    for i in range(len(checkpoints)):
        kernel = kernels[i]
        test_rows = kernel.test_rows(*test)
        for ridge in RIDGES:
            predicted[ridge] += kernel.predict(test_rows, ridge, weighted_masks).T.cpu().numpy()
        on_checkpoint()
    lds = {ridge: float(np.nanmean(lds_per_test(predicted[ridge], fit_outcomes))) for ridge in RIDGES}
    best = max(RIDGES, key=lambda ridge: lds[ridge])
    return best, {f"{ridge:g}": value for ridge, value in lds.items()}


def mean_out_to_loss(checkpoints: Ensemble, task: Task, examples: Examples) -> Tensor:
    """Weights q of examples, averaged over checkpoints: `[n]`."""
    return out_to_loss_of_each(checkpoints, task, examples).mean(0)


def out_to_loss_of_each(checkpoints: Ensemble, task: Task, examples: Examples) -> Tensor:
    """Weights q of train examples at each checkpoint: `[n_checkpoints, n]`."""
    inputs, targets = examples
    return checkpoints.of_each("out_to_loss", task, checkpoints.outputs(task, inputs), targets)


@dataclass(frozen=True)
class ScoringResult:
    """Scores of one run.

    Attributes:
        by_method: method to scores `[n_test, n_train]` for the labels.
        class_scores: TRAK scores `[n_test, n_classes, n_train]` for every target.
        test_labels: `[n_test]`.
        predicted: number of checkpoints to the outcomes that TRAK predicts with so many: `[n_subsets, n_test]`.
        seconds: method to CPU seconds.
        calibration: the factor that brought TRAK's scores for labels to the unit of the model output; None when they
            could not be brought there.
        calibration_of_others: the same for classes other than the label.
        gradient_path: how gradients were computed.
        errors: method to standard errors of its scores over checkpoints `[n_test, n_train]`, where there are several.
        self_influence: of the train examples by TRAK `[n_train]`, without calibration.
    """

    by_method: dict[str, Scores]
    class_scores: Scores
    test_labels: NDArray[np.int64]
    predicted: dict[int, NDArray[np.float64]]
    seconds: dict[str, float]
    calibration: float | None
    calibration_of_others: float | None
    gradient_path: str
    errors: dict[str, Scores]
    self_influence: Scores

    def tables(self, fingerprints: dict[str, str]) -> dict[str, dict[str, Any]]:
        """Rows for the store.

        Args:
            fingerprints: of what the scores of each method were made from.
        """
        n_test, n_classes, _ = self.class_scores.shape
        names = list(self.by_method)
        other = np.arange(n_classes)[None, :] != self.test_labels[:, None]  # the label's row is in `scores`
        test_idx, asked_class = np.nonzero(other)
        predicted = [(m, values) for m, values in self.predicted.items()]
        n_subsets = len(predicted[0][1])
        of_classes = [
            class_influence_columns(name, self.test_labels, scores.__getitem__)
            for name, scores in self.by_method.items()
        ]
        return {
            "methods": {
                "method": names,
                "title": [METHODS[name].info.title for name in names],
                "description": [METHODS[name].info.description for name in names],
                "is_baseline": [METHODS[name].info.is_baseline for name in names],
                "seconds": [self.seconds[name] for name in names],
                "fingerprint": [fingerprints[name] for name in names],
                "calibration": [self.calibration if name == "trak" else None for name in names],
            },
            "scores": {
                "method": np.repeat(names, n_test),
                "test_idx": np.tile(np.arange(n_test), len(names)),
                "values": np.concatenate([self.by_method[name] for name in names]),
            },
            "class_scores": {
                "method": np.repeat("trak", len(test_idx)),
                "test_idx": test_idx,
                "asked_class": asked_class,
                "values": self.class_scores[other],
            },
            "topk": topk_columns(self.by_method, errors=self.errors),
            "class_influence": {
                column: np.concatenate([part[column] for part in of_classes]) for column in of_classes[0]
            },
            "self_influence": {
                "method": np.repeat("trak", len(self.self_influence)),
                "train_idx": np.arange(len(self.self_influence)),
                "score": self.self_influence.astype(np.float64),
            },
            "checkpoint_predictions": {
                "n_checkpoints": np.repeat([m for m, _ in predicted], n_subsets * n_test),
                "subset_id": np.tile(np.repeat(np.arange(n_subsets), n_test), len(predicted)),
                "test_idx": np.tile(np.arange(n_test), len(predicted) * n_subsets),
                "predicted": np.concatenate([values.reshape(-1) for _, values in predicted]),
            },
        }


def score_all_methods(
    checkpoints: Ensemble,
    task: Task,
    train: Examples,
    test: Examples,
    kernels: Kernels,
    ridge: float,
    masks: NDArray[np.bool_],
    fit_masks: NDArray[np.bool_],
    fit_outcomes: NDArray[np.float64],
    tuning: NDArray[np.bool_],
    seed: int,
    on_checkpoint: Callable[[], None] = lambda: None,
) -> ScoringResult:
    """TRAK scores for every target, calibrated on the fitting subsets, and the baselines.

    Args:
        checkpoints: models to average over.
        task: what a prediction is.
        train: inputs and labels of the train examples.
        test: inputs and labels of the test examples.
        kernels: of the checkpoints.
        ridge: relative to the mean squared gradient norm.
        masks: all subsets of the ledger, bool `[n_subsets, n_train]`.
        fit_masks: the fitting subsets, bool `[n_fit, n_train]`.
        fit_outcomes: mean outcomes of every class on the fitting subsets `[n_fit, n_test, n_classes]`.
        tuning: test examples to calibrate on, bool `[n_test]`.
        seed: of the random baseline.
        on_checkpoint: called after every checkpoint.
    """
    began = time.process_time()
    (train_inputs, train_labels), (test_inputs, test_labels) = train, test
    targets = Targets.of(task.query, checkpoints.outputs(task.query, test_inputs)[0], test_labels)
    n_test, n_classes = targets.every.shape[:2]
    every_class = targets.every.flatten(0, 1)
    every_input = apply(lambda leaf: leaf.repeat_interleave(n_classes, dim=0), test_inputs)
    own = torch.arange(n_test, device=test_labels.device) * n_classes + targets.default

    q_of_each = out_to_loss_of_each(checkpoints, task, train)
    # Like q rather than like the inputs, which are whole numbers where they are the numbers of words.
    total = q_of_each.new_zeros(n_test * n_classes, len(train_labels))
    own_squares = q_of_each.new_zeros(n_test, len(train_labels))
    leverages = q_of_each.new_zeros(len(train_labels))
    snapshots: dict[int, Scores] = {}
    for i in range(len(checkpoints)):
        kernel = kernels[i]
        attribution = kernel.attribute(kernel.test_rows(every_input, every_class), ridge)
        total += attribution
        own_squares += attribution[own] ** 2
        leverages += kernel.leverages(ridge)
        if i + 1 in CHECKPOINT_COUNTS or i + 1 == len(checkpoints):
            scores = total[own] / (i + 1) * q_of_each[: i + 1].mean(0)
            snapshots[i + 1] = scores.cpu().numpy()
        on_checkpoint()
    class_scores = (total / len(checkpoints) * q_of_each.mean(0)).cpu().numpy().reshape(n_test, n_classes, -1)
    predicted = {m: predicted_outcomes(scores, masks) for m, scores in snapshots.items()}

    labels = targets.default.cpu().numpy()
    is_label = targets.is_default.cpu().numpy()  # [n_test, n_classes]
    calibrated_on = tuning if tuning.any() else np.ones(n_test, dtype=bool)
    factors = {}
    # Two factors: what moves the label's margin and what moves another class's differ in scale.
    for name, chosen in (("label", is_label), ("others", ~is_label)):
        used = chosen & calibrated_on[:, None]
        of_class = predicted_outcomes(class_scores[used], fit_masks)
        factors[name] = usable_slope(calibration_slope(of_class, fit_outcomes[:, used]))
        if (factor := factors[name]) is not None:
            class_scores[chosen] *= np.float32(factor)
    seconds = {"trak": time.process_time() - began}
    by_method = {"trak": class_scores[np.arange(n_test), labels]}
    errors = {}
    if len(checkpoints) > 1:
        mean = total[own] / len(checkpoints)
        variance = (own_squares / len(checkpoints) - mean**2).clamp_min(0) / (len(checkpoints) - 1)
        errors["trak"] = (variance.sqrt() * q_of_each.mean(0)).cpu().numpy() * np.float32(factors["label"] or 1)

    baselines: dict[str, Callable[[], Scores]] = {
        "embedding": lambda: mean_embedding_scores(checkpoints, task, train_inputs, test_inputs),
        "same_class": lambda: same_class_scores(labels, train_labels.cpu().numpy()),
        "random": lambda: random_scores(n_test, len(train_labels), seed),
    }
    for name, compute in baselines.items():
        began = time.process_time()
        by_method[name] = compute()
        seconds[name] = time.process_time() - began
    return ScoringResult(
        by_method=by_method,
        class_scores=class_scores,
        test_labels=labels,
        predicted=predicted,
        seconds=seconds,
        calibration=factors["label"],
        calibration_of_others=factors["others"],
        gradient_path=kernels.gradient_path,
        errors=errors,
        self_influence=(leverages / len(checkpoints) * q_of_each.mean(0)).cpu().numpy(),
    )


def usable_slope(slope: float) -> float | None:
    """The slope, or None where it is undefined or would turn every explanation round."""
    return slope if math.isfinite(slope) and slope > 0 else None


def mean_embedding_scores(checkpoints: Ensemble, task: Task, train_inputs: Inputs, test_inputs: Inputs) -> Scores:
    """Embedding similarity `[n_test, n_train]`, averaged over checkpoints."""
    similarities = []
    for i in range(len(checkpoints)):
        seen = [
            representations(checkpoints.architecture, checkpoints.state_dict(i), inputs, task).cpu().numpy()
            for inputs in (test_inputs, train_inputs)
        ]
        similarities.append(embedding_scores(*seen))
    return np.asarray(np.mean(similarities, axis=0), dtype=np.float32)
