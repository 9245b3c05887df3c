"""Trains many models of one architecture at once, by vmapping one optimizer step over all of them.

Small models leave a processor idle when they are trained one by one; stacked, hundreds train in seconds. That
is what makes retrained evidence (LDS, removal) cheap enough to be part of every run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from trak_core.errors import InvalidSettingError, TrainingDivergedError
from trak_core.seeds import derive_seed
from trak_core.tasks import Classification
from trak_core.training.ensemble import Ensemble, StateDict, make_models

__all__ = ["TrainingSettings", "train_ensemble"]


@dataclass(frozen=True)
class TrainingSettings:
    """Stochastic gradient descent with momentum; the learning rate falls linearly to zero.

    Attributes:
        epochs: passes over the members of the subset.
        batch_size: examples a step; the last, smaller batch of an epoch is left out.
        learning_rate: of the first step.
        momentum: heavy-ball coefficient.
        weight_decay: added to the gradient as `weight_decay * parameter`.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float


def train_ensemble(
    make_model: Callable[[], nn.Module],
    task: Classification,
    inputs: Tensor,
    labels: Tensor,
    masks: NDArray[np.bool_],
    seeds: Sequence[int],
    settings: TrainingSettings,
    on_epoch: Callable[[], None] = lambda: None,
) -> Ensemble:
    """Models trained on subsets of one training set, one model a row of `masks`.

    Args:
        make_model: gives a freshly initialised model, drawing from torch's global generator.
        task: supplies the loss.
        inputs: `[n_train, ...]` float32, on the device to train on.
        labels: `[n_train]` int64, on the same device.
        masks: bool `[n_models, n_train]`; every row must have the same number of members.
        seeds: one a model; it decides the initial weights and the order of batches.
        settings: of the optimizer.
        on_epoch: called after every epoch, for progress.

    Raises:
        InvalidSettingError: subsets differ in size, or are smaller than a batch.
        TrainingDivergedError: a trained weight is not finite.
    """
    sizes = masks.sum(axis=1)
    n_members = int(sizes[0])
    if (sizes != n_members).any():
        raise InvalidSettingError(
            f"masks: subsets have from {sizes.min()} to {sizes.max()} members; models that train together "
            "need subsets of one size."
        )
    if n_members < settings.batch_size:
        raise InvalidSettingError(
            f"batch_size={settings.batch_size} is larger than the subset of {n_members} examples; "
            f"use a batch size of at most {n_members}."
        )
    device = inputs.device
    ensemble = Ensemble.from_models(make_models(make_model, seeds), str(device))
    members = torch.stack([torch.from_numpy(np.flatnonzero(mask)) for mask in masks])  # [n_models, n_members]
    generators = [torch.Generator().manual_seed(derive_seed(seed, "batches")) for seed in seeds]

    def mean_loss(parameters: StateDict, batch_inputs: Tensor, batch_labels: Tensor) -> Tensor:
        logits = functional_call(ensemble.architecture, parameters, (batch_inputs,))
        return task.loss(logits, batch_labels).mean()

    gradients_of_all = vmap(grad(mean_loss))
    parameters = ensemble.parameters
    velocities = {name: torch.zeros_like(value) for name, value in parameters.items()}
    n_batches = n_members // settings.batch_size
    n_steps = n_batches * settings.epochs
    step = 0
    for _ in range(settings.epochs):
        # Orders are drawn on the CPU, so that a seed means the same batches on every device.
        shuffles = torch.stack([torch.randperm(n_members, generator=generator) for generator in generators])
        order = members.gather(1, shuffles).to(device)  # [n_models, n_members]
        for batch in torch.split(order[:, : n_batches * settings.batch_size], settings.batch_size, dim=1):
            learning_rate = settings.learning_rate * (1 - step / n_steps)
            gradients = gradients_of_all(parameters, inputs[batch], labels[batch])
            for name, parameter in parameters.items():
                update = gradients[name].add_(parameter, alpha=settings.weight_decay)
                velocity = velocities[name].mul_(settings.momentum).add_(update)
                parameter.sub_(velocity, alpha=learning_rate)
            step += 1
        on_epoch()
    _check_finite(ensemble, seeds)
    return ensemble


def _check_finite(ensemble: Ensemble, seeds: Sequence[int]) -> None:
    for index, seed in enumerate(seeds):
        bad = [name for name, value in ensemble.state_dict(index).items() if not value.isfinite().all()]
        if bad:
            raise TrainingDivergedError(
                f"training diverged: model {index} (seed {seed}) has weights that are not finite in "
                f"{', '.join(bad)}; lower the learning rate."
            )
