"""Everything that bears witness on the labels of a train set without having been told them.

Models that left the example out (twice: the second time without what the first look found wrong in their training),
and the labels of its neighbours; and one opinion pooled of them. The same labels and seed give the same opinions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.gradients.representations import representations
from trak_core.labels.folds import FoldModels, draw_folds, train_folds
from trak_core.labels.pool import pool_opinions
from trak_core.labels.signals import FLOOR, label_margins, log_probabilities, log_votes
from trak_core.labels.votes import N_NEIGHBOURS, neighbour_votes
from trak_core.recipes import Subject
from trak_core.seeds import derive_seed

__all__ = ["N_FOLDS", "N_MODELS", "N_REPEATS", "Opinions", "hear_witnesses"]

N_FOLDS, N_REPEATS = 5, 4
N_MODELS = 2 * N_FOLDS * N_REPEATS
"""Models trained, in both looks together."""


@dataclass(frozen=True)
class Opinions:
    """What is said of every train example by witnesses that were not told its label.

    Attributes:
        folds: int64 `[n_train]`, of the first repetition of the first look; -1 for the only example of a class.
        out_of_fold: probabilities by the models of the first look that left the example out, averaged over repetitions:
            float64 `[n_train, n_classes]`.
        pooled: probabilities of all witnesses in one, likewise.
        weights: of the witnesses in the pool, by name.
        signals: to scores `[n_train]`, higher for a more suspicious label: "combined", "out_of_fold", "second_look",
            "neighbours" and "disagreement".
    """

    folds: NDArray[np.int64]
    out_of_fold: NDArray[np.float64]
    pooled: NDArray[np.float64]
    weights: dict[str, float]
    signals: dict[str, NDArray[np.float64]]


def hear_witnesses(
    subject: Subject,
    inputs: Tensor,
    labels: Tensor,
    n_classes: int,
    seed: int,
    on_epoch: Callable[[], None] = lambda: None,
) -> Opinions:
    """The opinions on the labels of a train set.

    Args:
        subject: model, task and training settings.
        inputs: `[n_train, ...]` float32, on the device to train on.
        labels: `[n_train]` int64, on the same device; of two classes at least.
        n_classes: number of classes.
        seed: of the folds and the models.
        on_epoch: called after every epoch of each of the two looks, for progress.

    Raises:
        InvalidSettingError: four fifths of the train set are less than a batch.
        TrainingDivergedError: a model diverged.
    """
    given = labels.cpu().numpy()

    def look(name: str, trusted: NDArray[np.bool_] | None) -> tuple[FoldModels, NDArray[np.float32]]:
        own_seed = derive_seed(seed, name)
        folds = draw_folds(given, N_FOLDS, N_REPEATS, own_seed)
        models = train_folds(
            subject.make_model, subject.task, inputs, labels, subject.training, folds, own_seed, trusted, on_epoch
        )
        return models, models.unseen(models.ensemble.logits(inputs).cpu().numpy())

    models, logits = look("first look", None)
    trusted = ~_confidently_other(np.exp(log_probabilities(logits)).mean(axis=0), given)
    trusted |= models.folds[0] < 0  # without it no model would know that there is such a class
    if trusted.sum() * (N_FOLDS - 1) // N_FOLDS - N_FOLDS < subject.training.batch_size:
        trusted[:] = True  # too few would be left to train on
    _, second_logits = look("second look", trusted)
    opinions = {
        "out_of_fold": _mean_log(logits),
        "second_look": _mean_log(second_logits),
        "neighbours_by_input": _voted(neighbour_votes(inputs, labels, n_classes)),
        "neighbours_by_model": _voted(_votes_by_models(models, inputs, labels, n_classes)),
    }
    pooled, weights = pool_opinions(list(opinions.values()), given)
    both = np.logaddexp(opinions["neighbours_by_input"], opinions["neighbours_by_model"])
    by_all = np.concatenate([logits, second_logits])
    return Opinions(
        folds=models.folds[0],
        out_of_fold=np.exp(log_probabilities(logits)).mean(axis=0),
        pooled=np.exp(pooled),
        weights=dict(zip(opinions, weights.tolist(), strict=True)),
        signals={
            "combined": -label_margins(pooled, given),
            "out_of_fold": -label_margins(opinions["out_of_fold"], given),
            "second_look": -label_margins(opinions["second_look"], given),
            "neighbours": -label_margins(both, given),
            "disagreement": (by_all.argmax(axis=-1) != given).mean(axis=0),
        },
    )


def _confidently_other(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which examples confident learning takes for another class, bool `[n]`.

    A class is taken into account where its probability is at least what it is on average for examples that are labelled
    so. Source: Northcutt, Jiang, Chuang 2021, equation 2.
    """
    n_classes = probabilities.shape[1]
    usual = np.full(n_classes, np.inf)
    for label in np.unique(labels):
        usual[label] = probabilities[labels == label, label].mean()
    confident = np.where(probabilities >= usual, probabilities, -1)
    return np.asarray((confident.max(axis=1) >= 0) & (confident.argmax(axis=1) != labels))


def _mean_log(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-probabilities averaged over models, none below that of the floor `[n, n_classes]`."""
    return np.asarray(np.log(np.exp(log_probabilities(logits)) + FLOOR).mean(axis=0))


def _voted(votes: Tensor) -> NDArray[np.float64]:
    return log_votes(votes.cpu().numpy(), N_NEIGHBOURS)


def _votes_by_models(models: FoldModels, inputs: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Votes among what a model was trained on, in the eyes of models that left the asked example out."""
    votes = torch.zeros(len(labels), n_classes, dtype=torch.float64, device=inputs.device)
    for repeat, folds in enumerate(models.folds):
        for fold in range(models.n_folds):
            weights = models.ensemble.state_dict(repeat * models.n_folds + fold)
            rows = representations(models.ensemble.architecture, weights, inputs)
            left_out = folds == fold
            # The only example of a class is left out by nobody, and is asked of the first model, as with logits.
            asked = left_out | (folds < 0) if fold == 0 else left_out
            asked_idx, voters = (torch.from_numpy(np.flatnonzero(part)) for part in (asked, ~left_out))
            votes[asked_idx.to(votes.device)] += neighbour_votes(rows, labels, n_classes, asked_idx, voters)
    return votes / len(models.folds)
