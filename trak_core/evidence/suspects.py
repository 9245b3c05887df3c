"""Train examples whose label looks wrong: some signals, each a score that is higher for what looks more suspicious.

A signal is a name and one score for every train example; what reads suspects needs to know no more of it, so a new
signal is nothing but further rows. Signals here cost next to nothing, because a build has what they are made of.

`confidence`         minus the margin that the checkpoints give the example's own label, on average. They were trained
                     on that label, so a model that fits whatever it is told hides what is wrong.
`self_influence`     how much the example speaks for itself: an example that only its own presence explains.
                     Source: Koh & Liang 2017, section 5.4; Feldman & Zhang 2020.
`own_class_opponents` by how much having the example lowers the margin of test examples of its own class, counting
                     only those that it lowers: what it helps must not excuse what it hurts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["label_signals", "own_class_harm", "suggested_labels", "suspect_columns"]


def own_class_harm(
    scores: NDArray[Any], test_labels: NDArray[np.int64], train_labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean fall of the margin over test examples of the train example's class: float64 `[n_train]`, 0 or more.

    Test examples that it helps count as 0; so do all for a class without test examples.

    Args:
        scores: of every train example for the label of each test example `[n_test, n_train]`.
        test_labels: `[n_test]`.
        train_labels: `[n_train]`.
    """
    harm = np.zeros(len(train_labels))
    for label in np.unique(train_labels):
        tests, members = np.flatnonzero(test_labels == label), np.flatnonzero(train_labels == label)
        if len(tests):
            harm[members] = -np.minimum(scores[np.ix_(tests, members)], 0).mean(axis=0, dtype=np.float64)
    return harm


def suggested_labels(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most probable class other than the given label: int64 `[n]`; the lower number where two are equal.

    Args:
        probabilities: averaged over models `[n, n_classes]`, at least two classes.
        labels: given `[n]`.
    """
    others = np.array(probabilities, dtype=np.float64)
    others[np.arange(len(labels)), labels] = -np.inf
    return np.asarray(others.argmax(axis=1))


def label_signals(
    margins: NDArray[Any],
    self_influence: NDArray[Any],
    scores: NDArray[Any],
    test_labels: NDArray[np.int64],
    train_labels: NDArray[np.int64],
) -> dict[str, NDArray[np.float64]]:
    """Signal to scores `[n_train]`, higher for a more suspicious label.

    Args:
        margins: of the own label by every checkpoint `[n_checkpoints, n_train]`.
        self_influence: `[n_train]`.
        scores: of every train example for the label of each test example `[n_test, n_train]`.
        test_labels: `[n_test]`.
        train_labels: `[n_train]`.
    """
    return {
        "confidence": -np.asarray(margins, dtype=np.float64).mean(axis=0),
        "self_influence": np.asarray(self_influence, dtype=np.float64),
        "own_class_opponents": own_class_harm(scores, test_labels, train_labels),
    }


def suspect_columns(signals: dict[str, NDArray[np.float64]], suggested: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Columns of the table `suspects`: by signal, the most suspicious first; equal scores are ordered by train_idx.

    Args:
        signals: to scores `[n_train]`, higher for a more suspicious label.
        suggested: another label for each `[n_train]`.
    """
    orders = {name: np.argsort(-scores, kind="stable") for name, scores in signals.items()}
    n_train, order = len(suggested), np.concatenate(list(orders.values()))
    return {
        "train_idx": order,
        "signal": np.repeat(list(signals), n_train),
        "score": np.concatenate([signals[name][ranked] for name, ranked in orders.items()]),
        "rank": np.tile(np.arange(1, n_train + 1), len(signals)),
        "suggested_label": suggested[order],
    }
