"""Signals that a label is wrong: each a score for every train example, higher for what looks more suspicious.

A signal is a name and its scores; what reads suspects needs to know no more of it, so a new signal is nothing but
further rows.

`combined`            minus the margin of the label in the pool of the votes of the next three (`label_scores.py`).
`out_of_fold`         minus the margin that models give the label which were not trained on the example: on the scale of
                      log-probabilities, the normalised margin of cleanlab (Northcutt, Jiang, Chuang 2021).
`second_look`         the same by new models, trained without what the first ones found wrong (round 2).
`neighbours`          how far a vote of the nearest neighbours is from the label, by inputs and by what a model sees.
`training_margin`     minus the margin of the label, averaged over training: what is wrong is learnt late, if ever
                      (area under the margin; Pleiss, Zhang, Elenberg, Weinberger 2020).
`disagreement`        share of the models not trained on the example that take it for something else.
`confidence`          minus the margin that the checkpoints give the label. They were trained on it, so a model that
                      fits whatever it is told hides what is wrong.
`self_influence`      how much the example speaks for itself: one that only its own presence explains
                      (Koh & Liang 2017, section 5.4; Feldman & Zhang 2020), by TRAK.
`tracin_self_influence` the same by TracIn: the squared length of the gradient of the loss, over checkpoints
                      (Pruthi, Liu, Kale, Sundararajan 2020, section 4.1).
`own_class_opponents` by how much having the example lowers the margin of test examples of its own class, counting
                      only those that it lowers: what it helps must not excuse what it hurts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

FLOOR = 1e-6
"""A model is taken to be never more certain than this."""
PRIOR_VOTES = 0.5
"""Votes that are shared out among the classes before any neighbour has voted (Jeffreys' half)."""
LIKELY_GAP = 0.85
"""By how much another class must be more probable than the label for the label to be called likely wrong."""
SMALL_CLASS = 5
"""Labels of a class with no more examples are not judged: whatever was not told one of them hardly knows the class."""


def log_probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Logarithms of the softmax over the last axis, float64, of the shape of `logits`."""
    return np.asarray(log_softmax(np.asarray(logits, dtype=np.float64), axis=-1))


def log_votes(votes: NDArray[Any], n_voters: int) -> NDArray[np.float64]:
    """Logarithms of the probabilities that shares of votes stand for `[n, n_classes]`; a class without keeps some."""
    n_classes = votes.shape[1]
    return np.asarray(np.log((votes * n_voters + PRIOR_VOTES / n_classes) / (n_voters + PRIOR_VOTES)))


def label_margins(votes: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how much each vote for the label exceeds that for the best other class: float64 `[..., n]`.

    `votes` are logits, log-probabilities or shares `[..., n, n_classes]`, of at least two classes.
    """
    others = np.array(votes, dtype=np.float64)
    places = np.arange(len(labels))
    own = others[..., places, labels]
    others[..., places, labels] = -np.inf
    return np.asarray(own - others.max(axis=-1))


def own_class_harm(
    scores: NDArray[Any], test_labels: NDArray[np.int64], train_labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean fall of the margin over test examples of the train example's class: float64 `[n_train]`, 0 or more.

    `scores` are those of every train example for the label of each test example `[n_test, n_train]`. Test examples
    that it helps count as 0; so do all for a class without test examples.
    """
    harm = np.zeros(len(train_labels))
    for label in np.unique(train_labels):
        tests, members = np.flatnonzero(test_labels == label), np.flatnonzero(train_labels == label)
        if len(tests):
            harm[members] = -np.minimum(scores[np.ix_(tests, members)], 0).mean(axis=0, dtype=np.float64)
    return harm


def suggested_labels(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most probable class other than the given label: int64 `[n]`; the lower number where two are equal."""
    others = np.array(probabilities, dtype=np.float64)
    others[np.arange(len(labels)), labels] = -np.inf
    return np.asarray(others.argmax(axis=1))


def likely_wrong(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which labels are likely wrong, bool `[n]`: another class is more probable by at least .85.

    Where probabilities are calibrated and no label is wrong, that is rare: such an example would have to carry a label
    of a probability below .08, beside a class of .85 or more. In a class of five examples or fewer none is called so:
    whatever was not told such a label can know the class by four others at most.
    """
    has_company = np.bincount(labels)[labels] > SMALL_CLASS
    return np.asarray((-label_margins(probabilities, labels) >= LIKELY_GAP) & has_company)


def suspect_columns(
    signals: dict[str, NDArray[np.float64]],
    suggested: NDArray[np.int64],
    confidence: NDArray[np.float64],
    likely: NDArray[np.bool_],
) -> dict[str, NDArray[Any]]:
    """Columns of the table `suspects`: by signal, the most suspicious first; equal scores are ordered by train_idx.

    `signals` are scores `[n_train]`, higher for a more suspicious label; `suggested` another label for each, and
    `confidence` its probability; `likely` tells whether the label is likely wrong.
    """
    orders = {name: np.argsort(-scores, kind="stable") for name, scores in signals.items()}
    n_train, order = len(suggested), np.concatenate(list(orders.values()))
    return {
        "train_idx": order,
        "signal": np.repeat(list(signals), n_train),
        "score": np.concatenate([signals[name][ranked] for name, ranked in orders.items()]),
        "rank": np.tile(np.arange(1, n_train + 1), len(signals)),
        "suggested_label": suggested[order],
        "suggested_confidence": confidence[order],
        "is_likely": likely[order],
        "split": np.repeat("train", len(order)),
    }
