"""What the steps of a build take on this machine, tried out on small pieces of its own data and model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trak_core.engine.map_step import seconds_of_map
from trak_core.engine.method_context import FEATURES_WHEN_PROJECTED, kernel_proj_dim
from trak_core.inputs import as_tensors, take
from trak_core.labels.label_scores import N_MODELS as N_LABEL_MODELS
from trak_core.labels.label_scores import N_REPEATS
from trak_core.methods import RIDGES, GradientRows
from trak_core.projection import SjltProjection, SketchMap
from trak_core.subjects import Subject
from trak_core.training import FineTuner, FineTuning, train_ensemble
from trak_core.training.ensemble import make_models
from trak_core.training.sizing import N_FOLDS

TRIED_TOGETHER = 20
"""Models that are trained at once when their speed is tried; blocks of the ledger hold about as many."""
TRIED_BATCHES = 20
TRIED_STEPS = 4
TRIED_EXAMPLES = 1024
TRIES = 4
LONG = 2.0
"""Seconds after which one thing has been tried long enough."""
SLOW = 2.0
"""Seconds of one model's trial from which on many models are not tried together."""
HALVES_A_LABEL_MODEL = 1.6
"""A model that looks at labels is trained on four fifths of the train set, one of the ledger on a half."""


@dataclass(frozen=True)
class Pace:
    """Seconds that parts of a build take."""

    data: float  # reading and storing
    model: float  # training one model on all train examples
    half_model: float  # training one on a half, among many
    features: float  # projecting the gradients of one checkpoint
    ridge: float  # one checkpoint's part in choosing the ridge
    scores: float  # scoring with one checkpoint
    labels: float  # looking for wrong labels
    lds: float  # measuring the evidence
    map: float  # drawing the map

    def build(self, n_checkpoints: int, n_subsets: int, n_seeds: int) -> float:
        """Seconds that a whole build of these sizes takes."""
        a_checkpoint = self.model + self.features + self.scores
        evidence = n_checkpoints * self.ridge + n_subsets * n_seeds * self.half_model + self.lds
        return self.data + n_checkpoints * a_checkpoint + self.labels + self.map + (evidence if n_subsets else 0.0)


DIGITS_PACE = Pace(
    data=0.9,
    model=0.16,
    half_model=0.03,
    features=0.1,
    ridge=0.09,
    scores=0.29,
    labels=N_LABEL_MODELS * 0.03 + 0.5,
    lds=7.0,
    map=9.0,
)
"""Measured on two CPU cores with the digits recipe; elsewhere the proportions matter."""


@dataclass(frozen=True)
class StepTime:
    """Seconds that a step of training one model takes."""

    by_clock: float  # among many that train together, on the machine as it is now, busy or not
    # among as few as choose how long to train and look at labels; by the processor's time where that is less, because
    # what else the machine does now should not decide how well models learn
    among_few: float


def measure_pace(
    subject: Subject, device: str, half_model: float | None = None, a_step: StepTime | None = None
) -> Pace:
    """The cost model of a build of this subject on a device, from a trial of some seconds.

    `half_model` is the seconds of training one model on half of the train examples, `a_step` what `measure_step` found;
    None to try it.

    Steps of training cost the same however many of them there are, inner products grow with the number of pairs, and
    the kernel with the cube of its side; each is tried on a small piece and scaled. What draws on the store, the
    evidence and the map are taken from what was measured on two CPU cores.
    """
    split = subject.dataset.train
    n_train, n_test = len(split), len(subject.dataset.test)
    n_rows = n_test * max(1, len(subject.dataset.class_names))
    n_label_models = N_LABEL_MODELS
    by_epochs = subject.training is None or subject.training.steps is None  # else the size of a subset plays no part
    if half_model is None:
        assert subject.training is not None  # whoever trains otherwise has told the seconds
        n_steps = subject.training.steps or (subject.training.epochs or 0) * n_train / subject.training.batch_size / 2
        half_model = (a_step or measure_step(subject, device)).by_clock * n_steps
    else:
        n_label_models //= N_REPEATS  # see label_step.py
    projected = kernel_proj_dim(subject) is not None
    gradients, linear, pair, cholesky, solve = _seconds_of_kernels(subject, device, projected)
    side = FEATURES_WHEN_PROJECTED if projected else n_train
    # A projected kernel is solved in feature space, and its products with the train rows come on top.
    products = linear * (n_train + n_rows) + pair * (
        side * (side + n_train / side * n_rows) if projected else n_train * (n_train + n_rows)
    )
    return Pace(
        data=2 + 2e-4 * (n_train + n_test),
        model=half_model * (2 if by_epochs else 1),
        half_model=half_model,
        features=gradients * (n_train + n_test),
        ridge=products / 3 + linear * n_train + len(RIDGES) * cholesky * side**3,
        scores=products + 2 * cholesky * side**3 + solve * side**2 * n_rows,
        labels=2 + n_label_models * half_model * (HALVES_A_LABEL_MODEL if by_epochs else 1) + 1e-7 * n_train**2,
        lds=1.5 + 0.012 * n_test + 2e-8 * n_train * n_rows,
        map=seconds_of_map(n_train + n_test),
    )


def measure_step(subject: Subject, device: str) -> StepTime:
    """What a step of training takes by a short trial, of a subject with the built-in trainer."""
    train = _train_briefly(subject, device)
    n_steps = train(1)  # libraries make ready what they need
    alone, alone_least = _seconds_both_ways(lambda: train(1), device)
    together, least = TRIED_TOGETHER * alone, TRIED_TOGETHER * alone_least
    if subject.trains_together and alone < SLOW:  # else a large model fills the processor by itself
        together, least = _seconds_both_ways(lambda: train(TRIED_TOGETHER), device)
    few = alone_least + (least - alone_least) * (N_FOLDS - 1) / (TRIED_TOGETHER - 1)
    return StepTime(together / TRIED_TOGETHER / n_steps, few / N_FOLDS / n_steps)


def _train_briefly(subject: Subject, device: str) -> Callable[[int], float]:
    """Trains so many models for some steps; gives the number of these."""
    training = subject.training
    assert training is not None  # whoever trains otherwise has told the seconds
    split, batch_size = subject.dataset.train, training.batch_size
    n = min(len(split), TRIED_BATCHES * batch_size)
    inputs, labels = as_tensors((take(split.inputs, slice(n)), split.labels[:n]), device)
    if isinstance(training, FineTuning):
        briefly = replace(training, epochs=None, steps=TRIED_STEPS)
        tuner = FineTuner(subject.make_model, subject.task, inputs, labels, briefly)

        def tune(n_models: int) -> float:
            tuner.train_subsets(np.ones((n_models, n), dtype=bool), range(n_models))
            return TRIED_STEPS

        return tune
    settings = replace(training, epochs=1, steps=None)

    def train(n_models: int) -> float:
        seeds, masks = range(n_models), np.ones((n_models, n), dtype=bool)
        data = (subject.make_model, subject.task, inputs, labels, masks, seeds, settings)
        train_ensemble(*data, allow_diverged=True)
        return n / batch_size

    return train


def _seconds_of_kernels(subject: Subject, device: str, projected: bool) -> tuple[float, float, float, float, float]:
    """Of projecting one gradient, of forming one, of one inner product, and the factors of n^3 and of n^2 a row."""
    split = subject.dataset.train
    n = min(len(split), TRIED_EXAMPLES)
    inputs, labels = as_tensors((take(split.inputs, slice(n)), split.labels[:n]), device)
    model = make_models(subject.make_model, [0])[0].to(device)
    weights = {name: value.detach() for name, value in (*model.named_parameters(), *model.named_buffers())}
    rows = GradientRows(model, subject.task, weights, inputs, labels)
    sketch = SketchMap(rows.layers, SjltProjection(FEATURES_WHEN_PROJECTED if projected else 128, 0))
    few = slice(0, min(n, 256))
    rows.projected(weights, take(inputs, few), labels[few], sketch)
    projecting = _seconds(lambda: rows.projected(weights, take(inputs, few), labels[few], sketch), device) / few.stop
    if projected:
        forming, features = projecting, torch.randn(n, FEATURES_WHEN_PROJECTED, device=device)
    else:
        features = rows.whole(weights, inputs, labels)
        forming = _seconds(lambda: rows.whole(weights, inputs, labels), device) / n

    def multiply() -> Tensor:
        return features @ features.T if projected else rows.inner_products(features, features)

    multiply()
    pair = _seconds(multiply, device) / n**2
    matrix = torch.eye(TRIED_EXAMPLES, device=device) * 2 + 0.001
    factor = torch.linalg.cholesky(matrix)
    cholesky = _seconds(lambda: torch.linalg.cholesky(matrix), device) / len(matrix) ** 3
    solve = _seconds(lambda: torch.cholesky_solve(matrix, factor), device) / len(matrix) ** 3
    return projecting, forming, pair, cholesky, solve


def _seconds(work: Callable[[], Any], device: str) -> float:
    """The least by the clock of a few times."""
    return _seconds_both_ways(work, device)[0]


def _seconds_both_ways(work: Callable[[], Any], device: str) -> tuple[float, float]:
    """Of a few times the least by the clock, and by the processor's time where that is less.

    What else goes on meanwhile on the machine makes single times several times as long.
    """
    times: list[float] = []
    of_processor: list[float] = []
    while not times or (len(times) < TRIES and sum(times) < LONG):
        if device == "cuda":
            torch.cuda.synchronize()
        began, began_processor = time.perf_counter(), time.process_time()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
        of_processor.append(time.process_time() - began_processor)
    return min(times), min(times if device == "cuda" else [*times, *of_processor])
