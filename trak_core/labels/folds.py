"""What models say of examples that they were not trained on: every example is left out by some, by folds.

Each repetition parts the data anew into folds, class by class, and trains a model for each fold on all the others; all
models train at once. A model that has seen an example may know its label by heart; one that has not is a witness.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trak_core.seeds import derive_seed
from trak_core.tasks import Classification
from trak_core.training import Ensemble, TrainingSettings, train_ensemble

__all__ = ["ALWAYS_IN", "FoldModels", "assign_folds", "draw_folds", "train_folds"]

ALWAYS_IN = -1
"""The fold of an example that is its whole class: without it no model would know that there is such a class."""


def assign_folds(labels: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of every example, int64 `[n]`: 0 to `n_folds - 1`, each with an equal share of each class.

    The only example of a class gets `ALWAYS_IN`: every model is trained on it.

    Args:
        labels: int64 `[n]`.
        n_folds: at least two.
        seed: of the order in which examples are dealt out.
    """
    generator = np.random.default_rng(seed)
    folds = np.full(len(labels), ALWAYS_IN)
    dealt = 0
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) > 1:
            # Dealing goes on where the class before it ended, so that folds are of one size, give or take one.
            folds[members] = (dealt + np.arange(len(members))) % n_folds
            dealt += len(members)
    return folds


@dataclass(frozen=True)
class FoldModels:
    """Models that each left a fold out, repetition by repetition.

    Attributes:
        ensemble: the models: fold after fold of the first repetition, then of the second, and so on.
        folds: of every example, by repetition: int64 `[n_repeats, n]`.
        n_folds: in each repetition.
    """

    ensemble: Ensemble
    folds: NDArray[np.int64]
    n_folds: int

    def unseen(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of the models that did not see the example `[n_repeats, n, n_classes]`.

        For an example that all were trained on, those of the first model of each repetition.

        Args:
            logits: of all models for all examples `[n_models, n, n_classes]`.
        """
        first = np.arange(len(self.folds))[:, None] * self.n_folds
        chosen: NDArray[np.float32] = logits[first + np.maximum(self.folds, 0), np.arange(logits.shape[1])]
        return chosen


def train_folds(
    make_model: Callable[[], nn.Module],
    task: Classification,
    inputs: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
    folds: NDArray[np.int64],
    seed: int,
    trusted: NDArray[np.bool_] | None = None,
    on_epoch: Callable[[], None] = lambda: None,
) -> FoldModels:
    """Models that are each trained on all folds but one.

    Models that train together need sets of one size: of larger ones some examples, drawn at random, are left out.

    Args:
        make_model: gives a freshly initialised model.
        task: supplies the loss.
        inputs: `[n, ...]` float32, on the device to train on.
        labels: `[n]` int64, on the same device.
        settings: of the optimizer.
        folds: of every example, by repetition `[n_repeats, n]`.
        seed: of initial weights, batches and what is left out for size.
        trusted: which examples may be trained on `[n]`; all of them when None.
        on_epoch: called after every epoch, for progress.

    Raises:
        InvalidSettingError: fewer examples are left than a batch holds.
        TrainingDivergedError: a trained weight is not finite.
    """
    n_folds = int(folds.max()) + 1
    masks = (folds[:, None, :] != np.arange(n_folds)[:, None]).reshape(-1, folds.shape[1])
    if trusted is not None:
        masks &= trusted
    _cut_to_one_size(masks, folds[0] == ALWAYS_IN, np.random.default_rng(derive_seed(seed, "fold sizes")))
    seeds = [derive_seed(seed, "fold model", i) for i in range(len(masks))]
    ensemble = train_ensemble(make_model, task, inputs, labels, masks, seeds, settings, on_epoch)
    return FoldModels(ensemble, folds, n_folds)


def _cut_to_one_size(masks: NDArray[np.bool_], kept: NDArray[np.bool_], generator: np.random.Generator) -> None:
    size = masks.sum(axis=1).min()
    for mask in masks:
        spare = np.flatnonzero(mask & ~kept)
        mask[generator.choice(spare, mask.sum() - size, replace=False)] = False


def draw_folds(labels: NDArray[np.int64], n_folds: int, n_repeats: int, seed: int) -> NDArray[np.int64]:
    """Folds of every example by repetition, int64 `[n_repeats, n]`; see `assign_folds`."""
    parts: Sequence[NDArray[np.int64]] = [
        assign_folds(labels, n_folds, derive_seed(seed, "folds", repeat)) for repeat in range(n_repeats)
    ]
    return np.stack(parts)
