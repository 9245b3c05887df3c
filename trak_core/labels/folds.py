"""What models say of examples that they were not trained on: every example is held out by some, by folds.

Each repetition parts the data anew into folds, class by class, and trains a model for each fold on all the others; all
models train at once. A model that has seen an example may know its label by heart; one that has not is asked.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from trak_core.seeds import derive_seed
from trak_core.tasks import Inputs, Targets, Task
from trak_core.training import Ensemble, OnShare, Trainer, ignore_share

ALWAYS_IN = -1
"""The fold of an example that is its whole class: without it no model would know that there is such a class."""


def assign_folds(labels: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of every example, int64 `[n]`: 0 to `n_folds - 1`, each with an equal share of each class.

    The only example of a class gets `ALWAYS_IN`: every model is trained on it.
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
    """Models that each left a fold out, repetition by repetition."""

    ensemble: Ensemble  # the models: fold after fold of the first repetition, then of the second, and so on
    folds: NDArray[np.int64]  # of every example, by repetition: int64 `[n_repeats, n]`
    n_folds: int  # in each repetition

    @property
    def judges(self) -> NDArray[np.int64]:
        """Number of the model that judges each example, because it did not see it: `[n_repeats, n]`.

        For an example that all were trained on, the first model of each repetition.
        """
        first = np.arange(len(self.folds))[:, None] * self.n_folds
        return np.asarray(first + np.maximum(self.folds, 0))

    def unseen(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of the models that judge each example `[n_repeats, n, n_classes]`, from those of all models."""
        chosen: NDArray[np.float32] = logits[self.judges, np.arange(logits.shape[1])]
        return chosen


def class_log_probabilities(ensemble: Ensemble, task: Task, inputs: Inputs, labels: Tensor) -> NDArray[np.float32]:
    """Logarithms of the probabilities of all classes by each model `[n_models, n, n_classes]`.

    A task with classes says `f = log(p / (1 - p))` of each of them, so that log p is the log-sigmoid of f.
    """
    outputs = ensemble.outputs(task, inputs)
    margins = ensemble.of_each("model_outputs", task, outputs, Targets.of(task, outputs[0], labels).every)
    return np.asarray(logsigmoid(margins).cpu().numpy())


def train_folds(
    trainer: Trainer,
    labels: Tensor,
    folds: NDArray[np.int64],
    seed: int,
    trusted: NDArray[np.bool_] | None = None,
    on_share: OnShare = ignore_share,
) -> FoldModels:
    """Models that are each trained on all folds but one.

    Models that train together need sets of one size: of larger ones some examples, drawn at random, are removed. The
    result holds models that diverged as well; see `training.diverged`. `folds` are those of every example by repetition
    `[n_repeats, n]`; `trusted` tells which examples may be trained on `[n]`, all of them when None.

    Raises:
        InvalidSettingError: fewer examples are left than a batch holds.
    """
    masks = training_sets(folds, trusted)
    generator = np.random.default_rng(derive_seed(seed, "fold sizes"))
    _cut_to_one_size(masks, folds[0] == ALWAYS_IN, labels.cpu().numpy(), generator)
    seeds = [derive_seed(seed, "fold model", i) for i in range(len(masks))]
    return FoldModels(trainer.train_subsets(masks, seeds, on_share), folds, len(masks) // len(folds))


def training_sets(folds: NDArray[np.int64], trusted: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Which examples each model may be trained on, bool `[n_models, n]`, before sets are brought to one size.

    The arguments are those of `train_folds`.
    """
    masks = (folds[:, None, :] != np.arange(folds.max() + 1)[:, None]).reshape(-1, folds.shape[1])
    return np.asarray(masks if trusted is None else masks & trusted)


def _cut_to_one_size(
    masks: NDArray[np.bool_], kept: NDArray[np.bool_], labels: NDArray[np.int64], generator: np.random.Generator
) -> None:
    """Takes examples out of the larger sets.

    Where that would be the last ones of a class, one of them stays, and one of the commonest class goes. What is drawn
    does not depend on labels, or a model would depend on those of its own fold.
    """
    size = masks.sum(axis=1).min()
    for mask in masks:
        spare = np.flatnonzero(mask & ~kept)
        dropped = generator.choice(spare, mask.sum() - size, replace=False)
        mask[dropped] = False
        counts = np.bincount(labels[mask], minlength=labels.max() + 1)
        for idx in dropped:
            if counts[labels[idx]] == 0:
                commonest = counts.argmax()
                mask[np.flatnonzero(mask & (labels == commonest))[0]] = False
                mask[idx] = True
                counts[[labels[idx], commonest]] += [1, -1]


def draw_folds(labels: NDArray[np.int64], n_folds: int, n_repeats: int, seed: int) -> NDArray[np.int64]:
    """Folds of every example by repetition, int64 `[n_repeats, n]`; see `assign_folds`."""
    seeds = [derive_seed(seed, "folds", repeat) for repeat in range(n_repeats)]
    return np.stack([assign_folds(labels, n_folds, each) for each in seeds])
