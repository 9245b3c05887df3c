"""Trains models again and again: the seam through which retraining is asked for, and the built-in trainer.

`VmapTrainer` trains many models of one architecture at once, by vmapping one optimizer step over all of them: small
models leave a processor idle when they are trained one by one; stacked, hundreds train in seconds. That is what makes
retrained evidence (LDS, removal) cheap enough to be part of every run. A person's own loop trains one model after
another (`loop_trainer.py`). What retraining needs is the same for both: models trained on subsets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import grad, vmap

from trak_core.errors import InvalidSettingError, TrainingDivergedError
from trak_core.inputs import leaves, take
from trak_core.tasks import Inputs, Task, at_weights
from trak_core.training.ensemble import Ensemble, StateDict, make_models
from trak_core.training.log import Log, Moment, TrainingLog, recorded_steps
from trak_core.training.schedule import Schedule, TrainingSettings

OnShare = Callable[[float], None]
"""Called along the way with the share of the whole call, 0 to 1, that was done since it was called last."""
Masks = NDArray[np.bool_]


def ignore_share(share: float) -> None:
    """Progress that nobody listens to."""


@dataclass(frozen=True)
class Trained:
    """Checkpoints with what their training left behind."""

    ensemble: Ensemble  # the trained models
    logs: Sequence[Log]  # one a model, or of the first models only


class Trainer(Protocol):
    """Trains models of one subject on subsets of its train examples. Models that diverged are in what it returns."""

    @property
    def at_once(self) -> int:
        """Models that should be asked for in one call at most, so that they fit into memory."""

    @property
    def smallest_subset(self) -> int:
        """Members that a subset needs at least."""

    @property
    def weighs_losses(self) -> bool:
        """True when `train_weighted` can give each example's loss a weight."""

    def train_subsets(self, masks: Masks, seeds: Sequence[int], on_share: OnShare = ignore_share) -> Ensemble:
        """One model for each row of `masks`, bool `[n_models, n_train]`, trained on its members alone.

        Raises:
            InvalidSettingError: a subset is too small to be trained on.
        """

    def train_without(
        self, removed: Sequence[NDArray[np.int64]], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """Models trained without some train examples each, with all else as far as possible as in training on all.

        `removed` holds numbers of train examples, one array a model; models of one seed are to be compared.
        """

    def train_checkpoints(self, seeds: Sequence[int], n_logged: int, on_share: OnShare = ignore_share) -> Trained:
        """Models trained on all train examples, with the training logs of the first of them where logs are kept.

        Raises:
            TrainingDivergedError: a trained weight is not finite.
        """

    def train_weighted(
        self, weights: NDArray[np.float32], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """Models whose loss weighs the examples by `weights` `[n_models, n_train]`, all else as in training on all.

        Raises:
            NeedNotMetError: the trainer cannot, see `weighs_losses`.
        """

    def with_labels(self, labels: Tensor) -> "Trainer":
        """The trainer of the same examples with other labels `[n_train]`.

        Raises:
            NeedNotMetError: the labels are out of its reach.
        """


def removal_weights(removed: Sequence[NDArray[np.int64]], n_train: int) -> NDArray[np.float32]:
    """Loss weights `[len(removed), n_train]`: 0 for the examples removed, 1 for the others."""
    weights = np.ones((len(removed), n_train), dtype=np.float32)
    for row, gone in zip(weights, removed, strict=True):
        row[gone] = 0
    return weights


@dataclass(frozen=True)
class VmapTrainer:
    """Trains all models of a call at once, by the built-in optimizer."""

    make_model: Callable[[], nn.Module]  # gives a freshly initialised model, drawing from torch's global generator
    task: Task  # supplies the loss
    inputs: Inputs  # of the train examples `[n_train, ...]`, on the device to train on
    labels: Tensor  # of the train examples `[n_train]`, on the same device
    settings: TrainingSettings  # of the optimizer
    at_once: int = 100  # as in `Trainer`

    @property
    def smallest_subset(self) -> int:
        """As in `Trainer`: what fills a batch."""
        return self.settings.batch_size

    @property
    def weighs_losses(self) -> bool:
        """As in `Trainer`."""
        return True

    def train_subsets(self, masks: Masks, seeds: Sequence[int], on_share: OnShare = ignore_share) -> Ensemble:
        """As in `Trainer`; subsets that train together have one size.

        Initial weights and batches follow from the seed and the size of the subset.
        """
        data = (self.make_model, self.task, self.inputs, self.labels)
        return train_ensemble(*data, masks, seeds, self.settings, on_share, allow_diverged=True)

    def train_without(
        self, removed: Sequence[NDArray[np.int64]], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """As in `Trainer`: what is removed stays in its batches with weight 0, and changes nothing there."""
        return self.train_weighted(removal_weights(removed, len(self.labels)), seeds, on_share)

    def train_checkpoints(self, seeds: Sequence[int], n_logged: int, on_share: OnShare = ignore_share) -> Trained:
        """As in `Trainer`."""
        data = (self.make_model, self.task, self.inputs, self.labels)
        return train_recorded(*data, seeds, self.settings, n_logged, on_share)

    def train_weighted(
        self, weights: NDArray[np.float32], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """As in `Trainer`."""
        data = (self.make_model, self.task, self.inputs, self.labels)
        return train_reweighted(*data, weights, seeds, self.settings, on_share)

    def with_labels(self, labels: Tensor) -> "VmapTrainer":
        """As in `Trainer`."""
        return replace(self, labels=labels)


def train_ensemble(
    make_model: Callable[[], nn.Module],
    task: Task,
    inputs: Inputs,
    targets: Tensor,
    masks: NDArray[np.bool_],
    seeds: Sequence[int],
    settings: TrainingSettings,
    on_share: OnShare = ignore_share,
    allow_diverged: bool = False,
) -> Ensemble:
    """Models trained on subsets of one training set, one model a row of `masks`, bool `[n_models, n_train]`.

    `make_model` draws from torch's global generator. Inputs and the targets that the loss is taken at are those of the
    train examples `[n_train, ...]`, on the device to train on. The seed of a model decides its initial weights and the
    order of batches. `on_share` is called after every epoch; `allow_diverged` leaves it to the caller to look at
    `diverged`.

    Raises:
        InvalidSettingError: subsets differ in size, or are smaller than a batch.
        TrainingDivergedError: a trained weight is not finite.
    """
    sizes = masks.sum(axis=1)
    if (sizes != sizes[0]).any():
        raise InvalidSettingError(
            f"masks: subsets have from {sizes.min()} to {sizes.max()} members; models that train together "
            "need subsets of one size."
        )
    schedule = Schedule(settings, int(sizes[0]))
    members = torch.stack([torch.from_numpy(np.flatnonzero(mask)) for mask in masks])  # [n_models, n_members]
    ensemble, _ = _train(make_model, task, inputs, targets, seeds, schedule, on_share, members=members)
    if not allow_diverged:
        _check_finite(ensemble, seeds)
    return ensemble


def train_recorded(
    make_model: Callable[[], nn.Module],
    task: Task,
    inputs: Inputs,
    targets: Tensor,
    seeds: Sequence[int],
    settings: TrainingSettings,
    n_logged: int | None = None,
    on_share: OnShare = ignore_share,
) -> Trained:
    """Models trained on all train examples, with training logs of the first `n_logged`, or of all of them.

    The rest is as in `train_ensemble`.
    """
    schedule = Schedule(settings, len(targets))
    logged = len(seeds) if n_logged is None else n_logged
    ensemble, moments = _train(make_model, task, inputs, targets, seeds, schedule, on_share, n_logged=logged)
    _check_finite(ensemble, seeds)
    return Trained(ensemble, TrainingLog.of_each(seeds[:logged], schedule, moments))


def train_reweighted(
    make_model: Callable[[], nn.Module],
    task: Task,
    inputs: Inputs,
    targets: Tensor,
    weights: NDArray[np.float32],
    seeds: Sequence[int],
    settings: TrainingSettings,
    on_share: OnShare = ignore_share,
) -> Ensemble:
    """Models trained on all train examples, each example's loss weighted: the counterfactual with all else the same.

    Initial weights and batches are those of a model trained on everything with that seed; an example of weight 0 is in
    its batches and changes nothing. Models that diverged are in the result; see `diverged`.

    `weights` are float32 `[n_models, n_train]`; the other arguments are those of `train_ensemble`.
    """
    schedule, loss_weights = Schedule(settings, len(targets)), torch.from_numpy(weights)
    return _train(make_model, task, inputs, targets, seeds, schedule, on_share, weights=loss_weights)[0]


def _train(
    make_model: Callable[[], nn.Module],
    task: Task,
    inputs: Inputs,
    targets: Tensor,
    seeds: Sequence[int],
    schedule: Schedule,
    on_share: OnShare,
    members: Tensor | None = None,
    weights: Tensor | None = None,
    n_logged: int = 0,
) -> tuple[Ensemble, list[Moment]]:
    """Trains in place of all the above; also returns the recorded states of the first `n_logged` models, stacked.

    `members` are int64 `[n_models, n_members]`, everybody when None; `weights` of the losses `[n_models, n_train]`.
    """
    device = leaves(inputs)[0].device
    ensemble = Ensemble.from_models(make_models(make_model, seeds), str(device))
    batches = torch.stack([schedule.batches(seed) for seed in seeds], dim=1)  # [n_steps, n_models, batch_size]

    gradients_of_all = loss_gradients(ensemble.architecture, task)
    parameters = ensemble.parameters
    velocities = {name: torch.zeros_like(value) for name, value in parameters.items()}
    moments: list[Moment] = []
    recorded = recorded_steps(schedule) if n_logged else []

    def record(step: int) -> None:
        if step in recorded:
            states = (parameters, velocities)
            moments.append(Moment(step, *({k: v[:n_logged].clone() for k, v in state.items()} for state in states)))

    # In the type of the parameters: inputs may be tokens.
    like = next(iter(parameters.values()))
    ones = like.new_ones(len(seeds), schedule.settings.batch_size)
    weights = None if weights is None else weights.to(like)
    reported = 0  # steps that `on_share` was told of
    for step, places in enumerate(batches):
        record(step)
        batch = (places if members is None else members.gather(1, places)).to(device)
        batch_weights = ones if weights is None else weights.gather(1, batch)
        gradients = gradients_of_all(parameters, take(inputs, batch), targets[batch], batch_weights)
        sgd_step(parameters, velocities, gradients, schedule.learning_rate(step), schedule.settings)
        if (step + 1) % schedule.steps_an_epoch == 0 or step + 1 == schedule.n_steps:
            on_share((step + 1 - reported) / schedule.n_steps)
            reported = step + 1
    record(schedule.n_steps)
    return ensemble, moments


def loss_gradients(architecture: nn.Module, task: Task) -> Callable[[StateDict, Inputs, Tensor, Tensor], StateDict]:
    """A function that gives the gradients of many models, each of the mean loss of a batch of its own.

    It takes stacked parameters, inputs, targets and loss weights, `[n_models, ...]` each.
    """

    def mean_loss(parameters: StateDict, batch: Inputs, batch_targets: Tensor, batch_weights: Tensor) -> Tensor:
        outputs = task.outputs_of(at_weights(architecture, parameters), batch)
        return (task.loss(outputs, batch_targets) * batch_weights).mean()

    return vmap(grad(mean_loss))


def sgd_step(
    parameters: StateDict, velocities: StateDict, gradients: StateDict, learning_rate: float, settings: TrainingSettings
) -> None:
    """One step of stochastic gradient descent with momentum and weight decay, in place."""
    for name, parameter in parameters.items():
        update = gradients[name].add_(parameter, alpha=settings.weight_decay)
        velocity = velocities[name].mul_(settings.momentum).add_(update)
        parameter.sub_(velocity, alpha=learning_rate)


def diverged(ensemble: Ensemble) -> NDArray[np.bool_]:
    """Bool `[n_models]`: which models have weights that are not finite, or buffers that are NaN."""
    n = len(ensemble)
    lost = [~value.reshape(n, -1).isfinite().all(1) for value in ensemble.parameters.values()]
    # A mask that is kept as a buffer may well hold infinity.
    lost += [value.reshape(n, -1).isnan().any(1) for value in ensemble.buffers.values()]
    return np.asarray(torch.stack(lost).any(0).cpu().numpy())


def _check_finite(ensemble: Ensemble, seeds: Sequence[int]) -> None:
    for index in np.flatnonzero(diverged(ensemble)).tolist():
        bad = [name for name, value in ensemble.state_dict(index).items() if not value.isfinite().all()]
        raise TrainingDivergedError(
            f"training diverged: model {index} (seed {seeds[index]}) has weights that are not finite in "
            f"{', '.join(bad)}; lower the learning rate."
        )
