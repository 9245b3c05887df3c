"""Scores and run times of other libraries, for comparison: `pip install traker==0.3.2 dattri==0.3.0`.

Both run on the CPU in float32 with their default settings, apart from the projection dimension, and explain the same
output: the margin log(p / (1 - p)). Times are measured after all imports, on a copy of the model, and hold everything
from the library's set-up to the finished scores.
"""

import copy
import functools
import importlib
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

INSTALL = "pip install traker==0.3.2 dattri==0.3.0"

Checkpoint = dict[str, Tensor]
Examples = tuple[Tensor, Tensor]  # inputs [n, ...] and int64 labels [n]


@dataclass(frozen=True)
class PeerResult:
    """What a library found and what it took.

    Attributes:
        scores: float32 `[n_test, n_train]`, positive where a training example helps.
        cpu_seconds: processor time of this process, all threads together.
        wall_seconds: time on the clock.
    """

    scores: NDArray[np.float32]
    cpu_seconds: float
    wall_seconds: float


def run_traker(
    model: nn.Module, checkpoints: list[Checkpoint], train: Examples, test: Examples, proj_dim: int, batch_size: int
) -> PeerResult:
    """TRAK scores of traker, from files in a temporary folder that is deleted at the end.

    Args:
        model: the classifier; it is copied, not changed.
        checkpoints: state dicts to average over.
        train: inputs `[n_train, ...]` and labels `[n_train]`.
        test: inputs `[n_test, ...]` and labels `[n_test]`.
        proj_dim: dimension that gradients are projected to; above 100, since traker 0.3.2 fails below on the CPU.
        batch_size: examples per batch.

    Raises:
        ModuleNotFoundError: traker is not installed.
    """
    library = _import_peer("trak.traker")
    model = copy.deepcopy(model)
    n_test = len(test[1])
    with tempfile.TemporaryDirectory() as save_dir, _without_progress_bar(library):
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        traker = library.TRAKer(
            model=model,
            task="image_classification",
            train_set_size=len(train[1]),
            save_dir=save_dir,
            device="cpu",
            proj_dim=proj_dim,
            use_half_precision=False,
            logging_level=logging.WARNING,
        )
        for model_id, checkpoint in enumerate(checkpoints):
            traker.load_checkpoint(checkpoint, model_id=model_id)
            for inputs, labels in _batches(train, batch_size):
                traker.featurize(batch=(inputs, labels), num_samples=len(labels))
        traker.finalize_features()
        for model_id, checkpoint in enumerate(checkpoints):
            traker.start_scoring_checkpoint("test", checkpoint, model_id=model_id, num_targets=n_test)
            for inputs, labels in _batches(test, batch_size):
                traker.score(batch=(inputs, labels), num_samples=len(labels))
        train_test = traker.finalize_scores("test")  # [n_train, n_test], a file in save_dir
        cpu_seconds, wall_seconds = time.process_time() - cpu_start, time.perf_counter() - wall_start
        scores = np.array(train_test.T, dtype=np.float32, order="C")
    return PeerResult(scores, cpu_seconds, wall_seconds)


def run_dattri(
    model: nn.Module, checkpoints: list[Checkpoint], train: Examples, test: Examples, proj_dim: int, batch_size: int
) -> PeerResult:
    """TRAK scores of dattri with its default projector (normal).

    Args:
        model: the classifier; it is copied, not changed.
        checkpoints: state dicts to average over.
        train: inputs `[n_train, ...]` and labels `[n_train]`.
        test: inputs `[n_test, ...]` and labels `[n_test]`.
        proj_dim: dimension that gradients are projected to.
        batch_size: examples per batch.

    Raises:
        ModuleNotFoundError: dattri is not installed.
    """
    library = _import_peer("dattri.algorithm.trak")
    task_library = _import_peer("dattri.task")
    model = copy.deepcopy(model).eval()

    def logits_of_one(parameters: Checkpoint, example: Examples) -> Tensor:
        return torch.func.functional_call(model, parameters, (example[0].unsqueeze(0),))  # [1, n_classes]

    def margin(parameters: Checkpoint, example: Examples) -> Tensor:
        # As the correct logit against all others: log(1 - p) from p itself has no gradient once p rounds to 1.
        logits = logits_of_one(parameters, example)[0]
        is_correct = torch.arange(len(logits)) == example[1]
        correct = torch.where(is_correct, logits, 0.0).sum()
        return correct - torch.where(is_correct, -torch.inf, logits).logsumexp(0)

    def correct_probability(parameters: Checkpoint, example: Examples) -> Tensor:
        return torch.exp(-functional.cross_entropy(logits_of_one(parameters, example), example[1].unsqueeze(0)))

    with _without_progress_bar(library):
        cpu_start, wall_start = time.process_time(), time.perf_counter()
        task = task_library.AttributionTask(loss_func=margin, model=model, checkpoints=list(checkpoints))
        attributor = library.TRAKAttributor(
            task=task,
            correct_probability_func=correct_probability,
            projector_kwargs={"proj_dim": proj_dim},
            device="cpu",
        )
        attributor.cache(DataLoader(TensorDataset(*train), batch_size=batch_size))
        train_test = attributor.attribute(DataLoader(TensorDataset(*test), batch_size=batch_size))
        cpu_seconds, wall_seconds = time.process_time() - cpu_start, time.perf_counter() - wall_start
    scores = np.ascontiguousarray(train_test.detach().numpy().T, dtype=np.float32)
    return PeerResult(scores, cpu_seconds, wall_seconds)


def _batches(examples: Examples, batch_size: int) -> Iterator[Examples]:
    inputs, labels = examples
    yield from zip(inputs.split(batch_size), labels.split(batch_size), strict=True)


def _import_peer(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error.msg}. The comparison needs it: {INSTALL}", name=error.name) from error


def _without_progress_bar(library: ModuleType) -> AbstractContextManager[object]:
    """Context in which the `tqdm` that a module imported by name prints nothing."""
    return mock.patch.object(library, "tqdm", functools.partial(library.tqdm, disable=True))
