"""Everything that bears witness on the labels of a train set without having been told them.

Models that left the example out (twice: the second time without what the first look found wrong in their training),
and the labels of its neighbours; and one opinion pooled of them. The same labels and seed give the same opinions.

No model that judges an example was trained on it, save where it is the only one of its class. Its label reaches
the second look all the same, in a roundabout way: models of the first look that were trained on it, and how probable
its class usually is, have a say in which other examples are left out. Folds are dealt out class by class, and the few
weights of the pool are fitted to all labels, so that these depend on it as well.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.errors import TrainingDivergedError
from trak_core.gradients.representations import representations
from trak_core.inputs import flat_rows
from trak_core.labels.folds import FoldModels, class_log_probabilities, draw_folds, train_folds, training_sets
from trak_core.labels.pool import pool_opinions
from trak_core.labels.signals import FLOOR, SMALL_CLASS, label_margins, log_probabilities, log_votes
from trak_core.labels.votes import N_NEIGHBOURS, neighbour_votes
from trak_core.seeds import derive_seed
from trak_core.tasks import Inputs, Task
from trak_core.training import OnShare, Trainer, diverged, ignore_share

N_FOLDS, N_REPEATS = 5, 4
N_MODELS = 2 * N_FOLDS * N_REPEATS
"""Models trained, in both looks together."""


@dataclass(frozen=True)
class Opinions:
    """What is said of every train example by witnesses that were not told its label."""

    # int64 `[n_train]`, of the first repetition of the first look; -1 for the only example of a class
    folds: NDArray[np.int64]
    # probabilities by the models of the first look that left the example out, averaged over repetitions: float64
    # `[n_train, n_classes]`
    out_of_fold: NDArray[np.float64]
    pooled: NDArray[np.float64]  # probabilities of all witnesses in one, likewise
    weights: dict[str, float]  # of the witnesses in the pool, by name
    # to scores `[n_train]`, higher for a more suspicious label: "combined", "out_of_fold", "second_look", "neighbours"
    # and "disagreement"
    signals: dict[str, NDArray[np.float64]]
    # whether the second look was trained on everything, because without what the first look finds wrong some model
    # would have had less than a batch
    left_nothing_out: bool = False
    # how many models diverged and are heard nowhere, by look; looks without any are left out
    n_diverged: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Look:
    """What models say that left the example out."""

    models: FoldModels  # all of them, those that diverged included
    # of the model that judges each example, by repetition: float32 `[n_repeats, n_train, n_classes]`
    logits: NDArray[np.float32]
    # whether that model did not diverge, bool `[n_repeats, n_train]`; of each example one at least
    heard: NDArray[np.bool_]
    n_diverged: int  # how many models did

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """By repetition `[n_repeats, n_train, n_classes]`."""
        return np.asarray(np.exp(log_probabilities(self.logits)))

    def mean(self, by_repetition: NDArray[np.float64]) -> NDArray[np.float64]:
        """Over the models that are heard: from `[n_repeats, n_train, n_classes]` to `[n_train, n_classes]`."""
        return np.asarray(by_repetition.mean(axis=0, where=self.heard[..., None]))


def hear_witnesses(
    task: Task,
    trainer: Trainer,
    inputs: Inputs,
    labels: Tensor,
    n_classes: int,
    seed: int,
    on_share: OnShare = ignore_share,
    n_repeats: int = N_REPEATS,
) -> Opinions:
    """The opinions on the labels of a train set.

    Args:
        task: what a prediction is; one with classes.
        trainer: of models of these examples.
        inputs: `[n_train, ...]` float32, on the device to train on.
        labels: `[n_train]` int64, on the same device; of two classes at least.
        n_classes: number of classes.
        seed: of the folds and the models.
        on_share: progress of each of the two looks.
        n_repeats: times that each look parts the data anew.

    Raises:
        InvalidSettingError: four fifths of the train set are less than a batch.
        TrainingDivergedError: so many models diverged that none is left to ask about some example.
    """
    given = labels.cpu().numpy()
    seeds = [derive_seed(seed, name) for name in ("first look", "second look")]
    folds = [draw_folds(given, N_FOLDS, n_repeats, own_seed) for own_seed in seeds]

    def look(number: int, trusted: NDArray[np.bool_] | None) -> _Look:
        models = train_folds(trainer, labels, folds[number], seeds[number], trusted, on_share)
        return _ask(models, task, inputs, labels)

    first = look(0, None)
    out_of_fold = first.mean(first.probabilities)
    trusted = _trusted(out_of_fold, given)
    left_nothing_out = bool(training_sets(folds[1], trusted).sum(axis=1).min() < trainer.smallest_subset)
    second = look(1, None if left_nothing_out else trusted)
    opinions = {
        "out_of_fold": _mean_log(first),
        "second_look": _mean_log(second),
        "neighbours_by_input": _voted(neighbour_votes(flat_rows(inputs), labels, n_classes)),
        "neighbours_by_model": _voted(_votes_by_models(first.models, first.heard, task, inputs, labels, n_classes)),
    }
    pooled, weights = pool_opinions(list(opinions.values()), given)
    both = np.logaddexp(opinions["neighbours_by_input"], opinions["neighbours_by_model"])
    otherwise = np.concatenate([first.logits, second.logits]).argmax(axis=-1) != given
    n_diverged = {"first look": first.n_diverged, "second look": second.n_diverged}
    return Opinions(
        folds=folds[0][0],
        out_of_fold=out_of_fold,
        pooled=np.exp(pooled),
        weights=dict(zip(opinions, weights.tolist(), strict=True)),
        signals={
            "combined": -label_margins(pooled, given),
            "out_of_fold": -label_margins(opinions["out_of_fold"], given),
            "second_look": -label_margins(opinions["second_look"], given),
            "neighbours": -label_margins(both, given),
            "disagreement": otherwise.mean(axis=0, where=np.concatenate([first.heard, second.heard])),
        },
        left_nothing_out=left_nothing_out,
        n_diverged={name: n for name, n in n_diverged.items() if n},
    )


def _ask(models: FoldModels, task: Task, inputs: Inputs, labels: Tensor) -> _Look:
    """What the models say of the examples that they left out."""
    logits = class_log_probabilities(models.ensemble, task, inputs, labels)
    lost = diverged(models.ensemble) | ~np.isfinite(logits).all(axis=(1, 2))
    heard = ~lost[models.judges]
    n_unheard = int((~heard.any(axis=0)).sum())
    if n_unheard:
        raise TrainingDivergedError(
            f"step 'labels': training diverged for {lost.sum()} of {len(lost)} models that judge labels, so that of "
            f"{n_unheard:,} train examples no model is left that was not trained on them. Lower the learning rate of "
            "the recipe, or let its models begin with smaller weights."
        )
    logits[lost] = 0  # heard nowhere, and no warnings of what is not finite
    return _Look(models, models.unseen(logits), heard, int(lost.sum()))


def _trusted(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which examples the second look may be trained on, bool `[n]`: all but those confidently taken for another class.

    Of every class a handful stays in any case, those of the highest margin: without them no model would know that there
    is such a class.
    """
    trusted = ~_confidently_other(probabilities, labels)
    margins = label_margins(probabilities, labels)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        trusted[members[np.argsort(-margins[members], kind="stable")[:SMALL_CLASS]]] = True
    return trusted


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


def _mean_log(look: _Look) -> NDArray[np.float64]:
    """Log-probabilities averaged over models, none below that of the floor `[n, n_classes]`."""
    return look.mean(np.log(look.probabilities + FLOOR))


def _voted(votes: Tensor) -> NDArray[np.float64]:
    return log_votes(votes.cpu().numpy(), N_NEIGHBOURS)


def _votes_by_models(
    models: FoldModels, heard: NDArray[np.bool_], task: Task, inputs: Inputs, labels: Tensor, n_classes: int
) -> Tensor:
    """Votes among what a model was trained on, in the eyes of models that left the example out.

    `heard` is bool `[n_repeats, n]`: whether the model that judges the example counts; one at least does.
    """
    votes = torch.zeros(len(labels), n_classes, dtype=torch.float64, device=labels.device)
    for repeat, folds in enumerate(models.folds):
        for fold in range(models.n_folds):
            number = repeat * models.n_folds + fold
            judged = (models.judges[repeat] == number) & heard[repeat]
            if not judged.any():
                continue
            rows = representations(models.ensemble.architecture, models.ensemble.state_dict(number), inputs, task)
            judged_idx, voters = (torch.from_numpy(np.flatnonzero(part)) for part in (judged, folds != fold))
            votes[judged_idx.to(votes.device)] += neighbour_votes(rows, labels, n_classes, judged_idx, voters)
    return votes / torch.from_numpy(heard.sum(axis=0)).to(votes)[:, None]
