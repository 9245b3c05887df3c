"""One way to train models again and again: the seam through which retraining is asked for, whoever trains.

`VmapTrainer` trains many small models at once and knows every step of it. A person's own loop trains one model after
another (`trak_core/training/loop_trainer.py`). What retraining needs is the same for both: models trained on subsets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trak_core.tasks import Inputs, Task
from trak_core.training.ensemble import Ensemble
from trak_core.training.schedule import TrainingSettings
from trak_core.training.trainer import Trained, train_ensemble, train_recorded, train_reweighted

OnShare = Callable[[float], None]
"""Called along the way with the share of the whole call, 0 to 1, that was done since it was called last."""
Masks = NDArray[np.bool_]


def ignore_share(share: float) -> None:
    """Progress that nobody listens to."""


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
        return train_ensemble(*data, masks, seeds, self.settings, self._on_epoch(on_share), allow_diverged=True)

    def train_without(
        self, removed: Sequence[NDArray[np.int64]], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """As in `Trainer`: what is removed stays in its batches with weight 0, and changes nothing there."""
        return self.train_weighted(removal_weights(removed, len(self.labels)), seeds, on_share)

    def train_checkpoints(self, seeds: Sequence[int], n_logged: int, on_share: OnShare = ignore_share) -> Trained:
        """As in `Trainer`."""
        data = (self.make_model, self.task, self.inputs, self.labels)
        return train_recorded(*data, seeds, self.settings, n_logged, self._on_epoch(on_share))

    def train_weighted(
        self, weights: NDArray[np.float32], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """As in `Trainer`."""
        data = (self.make_model, self.task, self.inputs, self.labels)
        return train_reweighted(*data, weights, seeds, self.settings, self._on_epoch(on_share))

    def with_labels(self, labels: Tensor) -> "VmapTrainer":
        """As in `Trainer`."""
        return replace(self, labels=labels)

    def _on_epoch(self, on_share: OnShare) -> Callable[[], None]:
        return lambda: on_share(1 / self.settings.epochs)
