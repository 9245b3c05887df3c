"""Scores of the labels of a train set by what was not told them: out-of-fold models, and the labels of neighbours.

Models are trained without the example in two rounds, the second without what the first found wrong. All votes are
pooled into one. The same labels and seed give the same scores.

No model that votes on an example was trained on it, save where it is the only one of its class. Its label reaches
round 2 all the same, in a roundabout way: models of round 1 that were trained on it, and how probable its class usually
is, have a say in which other examples are removed. Folds are dealt out class by class, and the few weights of the pool
are fitted to all labels, so that these depend on it as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.errors import TrainingDivergedError
from trak_core.gradients import representations
from trak_core.inputs import flat_rows
from trak_core.labels.folds import FoldModels, class_log_probabilities, draw_folds, train_folds, training_sets
from trak_core.labels.signals import FLOOR, SMALL_CLASS, label_margins, log_probabilities, log_votes
from trak_core.seeds import derive_seed
from trak_core.tasks import Inputs, Task
from trak_core.training import OnShare, Trainer, diverged, ignore_share

N_FOLDS, N_REPEATS = 5, 4
N_MODELS = 2 * N_FOLDS * N_REPEATS
"""Models trained, in both rounds together."""
N_NEIGHBOURS = 20
SHARPNESS = 10.0
"""A neighbour whose cosine is higher by .1 counts e times as much."""
_CELLS = 2**25  # cosines held at a time
N_POOL_STEPS = 100


@dataclass(frozen=True)
class LabelScores:
    """What out-of-fold models and neighbours say of every train example."""

    # int64 `[n_train]`, of the first repetition of round 1; -1 for the only example of a class
    folds: NDArray[np.int64]
    # probabilities by the out-of-fold models of round 1, averaged over repetitions: float64 `[n_train, n_classes]`
    out_of_fold: NDArray[np.float64]
    pooled: NDArray[np.float64]  # probabilities of all votes in one, likewise
    weights: dict[str, float]  # of the votes in the pool, by name
    # to scores `[n_train]`, higher for a more suspicious label: "combined", "out_of_fold", "second_look", "neighbours"
    # and "disagreement"
    signals: dict[str, NDArray[np.float64]]
    # whether round 2 was trained on everything, because without what round 1 finds wrong some model would have had less
    # than a batch
    round_2_on_all: bool = False
    # how many models diverged and count nowhere, by round; rounds without any are absent
    n_diverged: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Round:
    """Out-of-fold votes of one round of training."""

    models: FoldModels  # all of them, those that diverged included
    # of the out-of-fold model of each example, by repetition: float32 `[n_repeats, n_train, n_classes]`
    logits: NDArray[np.float32]
    # whether that model did not diverge, bool `[n_repeats, n_train]`; of each example one at least
    counted: NDArray[np.bool_]
    n_diverged: int  # how many models did

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """By repetition `[n_repeats, n_train, n_classes]`."""
        return np.asarray(np.exp(log_probabilities(self.logits)))

    def mean(self, by_repetition: NDArray[np.float64]) -> NDArray[np.float64]:
        """Over the models that count: from `[n_repeats, n_train, n_classes]` to `[n_train, n_classes]`."""
        return np.asarray(by_repetition.mean(axis=0, where=self.counted[..., None]))

    def mean_log(self) -> NDArray[np.float64]:
        """Log-probabilities averaged over models, none below that of the floor `[n_train, n_classes]`."""
        return self.mean(np.log(self.probabilities + FLOOR))


def score_labels(
    task: Task,
    trainer: Trainer,
    inputs: Inputs,
    labels: Tensor,
    n_classes: int,
    seed: int,
    on_share: OnShare = ignore_share,
    n_repeats: int = N_REPEATS,
) -> LabelScores:
    """The scores of the labels `[n_train]` of a train set, of two classes at least, by models of the trainer.

    Inputs float32 `[n_train, ...]` and labels int64 are on the device to train on. Each round parts the data
    `n_repeats` times, and tells `on_share` its progress.

    Raises:
        InvalidSettingError: four fifths of the train set are less than a batch.
        TrainingDivergedError: so many models diverged that none is left to ask about some example.
    """
    given = labels.cpu().numpy()
    seeds = [derive_seed(seed, name) for name in ("first look", "second look")]
    folds = [draw_folds(given, N_FOLDS, n_repeats, own_seed) for own_seed in seeds]

    def train_round(number: int, trusted: NDArray[np.bool_] | None) -> _Round:
        models = train_folds(trainer, labels, folds[number], seeds[number], trusted, on_share)
        return _ask(models, task, inputs, labels)

    first = train_round(0, None)
    out_of_fold = first.mean(first.probabilities)
    trusted = _trusted(out_of_fold, given)
    round_2_on_all = bool(training_sets(folds[1], trusted).sum(axis=1).min() < trainer.smallest_subset)
    second = train_round(1, None if round_2_on_all else trusted)
    by_input = neighbour_votes(flat_rows(inputs), labels, n_classes)
    by_model = _votes_by_models(first.models, first.counted, inputs, labels, n_classes)
    votes = {
        "out_of_fold": first.mean_log(),
        "second_look": second.mean_log(),
        "neighbours_by_input": log_votes(by_input.cpu().numpy(), N_NEIGHBOURS),
        "neighbours_by_model": log_votes(by_model.cpu().numpy(), N_NEIGHBOURS),
    }
    pooled, weights = pool_votes(list(votes.values()), given)
    compared = {
        "combined": pooled,
        "out_of_fold": votes["out_of_fold"],
        "second_look": votes["second_look"],
        "neighbours": np.logaddexp(votes["neighbours_by_input"], votes["neighbours_by_model"]),
    }
    otherwise = np.concatenate([first.logits, second.logits]).argmax(axis=-1) != given
    disagreement = otherwise.mean(axis=0, where=np.concatenate([first.counted, second.counted]))
    n_diverged = {"first look": first.n_diverged, "second look": second.n_diverged}
    return LabelScores(
        folds=folds[0][0],
        out_of_fold=out_of_fold,
        pooled=np.exp(pooled),
        weights=dict(zip(votes, weights.tolist(), strict=True)),
        signals={
            **{name: -label_margins(logs, given) for name, logs in compared.items()},
            "disagreement": disagreement,
        },
        round_2_on_all=round_2_on_all,
        n_diverged={name: n for name, n in n_diverged.items() if n},
    )


def _ask(models: FoldModels, task: Task, inputs: Inputs, labels: Tensor) -> _Round:
    """What the models say of the examples that they were not trained on."""
    logits = class_log_probabilities(models.ensemble, task, inputs, labels)
    lost = diverged(models.ensemble) | ~np.isfinite(logits).all(axis=(1, 2))
    counted = ~lost[models.judges]
    if n_without := int((~counted.any(axis=0)).sum()):
        raise TrainingDivergedError(
            f"step 'labels': training diverged for {lost.sum()} of {len(lost)} models that judge labels, so that of "
            f"{n_without:,} train examples no model is left that was not trained on them. Lower the learning rate of "
            "the recipe, or let its models begin with smaller weights."
        )
    logits[lost] = 0  # counted nowhere, and no warnings of what is not finite
    return _Round(models, models.unseen(logits), counted, int(lost.sum()))


def _trusted(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which examples round 2 may be trained on, bool `[n]`: all but those confidently taken for another class.

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
    usual = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        usual[label] = probabilities[labels == label, label].mean()
    confident = np.where(probabilities >= usual, probabilities, -1)
    return np.asarray((confident.max(axis=1) >= 0) & (confident.argmax(axis=1) != labels))


def neighbour_votes(
    rows: Tensor, labels: Tensor, n_classes: int, judged: Tensor | None = None, voters: Tensor | None = None
) -> Tensor:
    """Share of each class in the vote of the nearest others, the nearer the heavier: float64 `[n_judged, n_classes]`.

    Near is what has a high cosine, taken from the mean of all rows. An example has no vote on itself. A row sums to 1,
    or is 0 where nobody else may vote. Examples are compared by `rows` `[n, ...]`; `judged` are the numbers of those to
    vote on, `voters` of those that may vote, all when None.
    """
    flat = rows.flatten(1).float()
    flat = torch.nn.functional.normalize(flat - flat.mean(0), dim=1)
    everybody = torch.arange(len(rows), device=rows.device)
    judged = everybody if judged is None else judged.to(rows.device)
    voters = everybody if voters is None else voters.to(rows.device)
    of_class = torch.nn.functional.one_hot(labels[voters], n_classes).double()
    n_nearest = min(N_NEIGHBOURS, len(voters) - 1)
    votes = []
    for part in torch.split(judged, max(1, _CELLS // len(voters))):
        cosines = flat[part] @ flat[voters].T
        cosines.masked_fill_(part[:, None] == voters, -torch.inf)
        nearest, which = cosines.topk(n_nearest, dim=1)
        weights = (SHARPNESS * nearest.double()).softmax(dim=1)
        votes.append((weights[..., None] * of_class[which]).sum(1))
    return torch.cat(votes)


def _votes_by_models(
    models: FoldModels, counted: NDArray[np.bool_], inputs: Inputs, labels: Tensor, n_classes: int
) -> Tensor:
    """Votes of neighbours by what the out-of-fold models see, among what each of these was trained on.

    `counted` is bool `[n_repeats, n]`: whether the out-of-fold model of the example counts; one at least does.
    """
    votes = torch.zeros(len(labels), n_classes, dtype=torch.float64, device=labels.device)
    for repeat, folds in enumerate(models.folds):
        for fold in range(models.n_folds):
            number = repeat * models.n_folds + fold
            judged = (models.judges[repeat] == number) & counted[repeat]
            if not judged.any():
                continue
            rows = representations(models.ensemble.architecture, models.ensemble.state_dict(number), inputs)
            judged_idx, voters = (torch.from_numpy(np.flatnonzero(part)) for part in (judged, folds != fold))
            votes[judged_idx.to(votes.device)] += neighbour_votes(rows, labels, n_classes, judged_idx, voters)
    return votes / torch.from_numpy(counted.sum(axis=0)).to(votes)[:, None]


def pool_votes(
    votes: Sequence[NDArray[np.float64]], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pooled log-probabilities `[n, n_classes]` and the weights of the votes `[n_votes]`, both float64.

    The logarithmic opinion pool: log p = sum_k w_k log p_k, brought to sum 1. The weights, none negative, are those
    under which the labels as they are given are most probable (stacking; Wolpert 1992, Genest & Zidek 1986). So votes
    that know nothing of this kind of data get a weight of about 0, equal votes share theirs, and the probabilities that
    come out are calibrated on the labels; nothing is left to be chosen by hand.

    Votes are log-probabilities `[n, n_classes]` each, by what was not told the label of the example.
    """
    given = torch.from_numpy(labels)
    tensors = [torch.from_numpy(vote).double() for vote in votes]
    logs = torch.zeros(len(votes), dtype=torch.float64, requires_grad=True)  # of the weights: none is negative
    optimizer = torch.optim.LBFGS([logs], max_iter=N_POOL_STEPS, line_search_fn="strong_wolfe")

    def step() -> float:
        optimizer.zero_grad()
        pooled = sum(log.exp() * vote for log, vote in zip(logs, tensors, strict=True))
        loss = torch.nn.functional.cross_entropy(torch.as_tensor(pooled), given)
        # Where every label is told without doubt the best weights are infinite; this holds them near 1.
        (loss + 1e-4 * logs.square().sum()).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(step)  # type: ignore[no-untyped-call]
    weights = logs.detach().exp().numpy()
    pooled = np.sum([weight * vote for weight, vote in zip(weights, votes, strict=True)], axis=0)
    return log_probabilities(pooled), weights
