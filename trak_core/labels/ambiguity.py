"""Examples that models cannot decide on, although their label may well be right.

Probabilities are those of models that did not see the example. They are first calibrated by one temperature, the one
under which the labels are most likely (Guo et al. 2017): models that are trained calmly are far less sure than they are
right, and nearly everything would look undecided. A class is in the running where it has at least half the probability
of the most probable one. An example is ambiguous where two or more classes are in the running and its label is one of
them; where the label is not, it is rather wrong, and that is what suspects are for.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

IN_THE_RUNNING = 0.5
SMALLEST_PROBABILITY = 1e-12
WIDEST = 4.0
"""Of the natural logarithm of the temperature, either way."""


def ambiguous(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ambiguous train examples by number, and how undecided: int64 and float64 `[n_found]`.

    The score is the probability of the second class over that of the first, 0.5 to 1.

    Args:
        probabilities: out of fold `[n, n_classes]`.
        labels: int64 `[n]`.
    """
    if probabilities.shape[1] < 2 or len(labels) == 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    certain = calibrated(probabilities, labels)
    first, second = -np.partition(-certain, 1, axis=1)[:, :2].T
    own = certain[np.arange(len(labels)), labels]
    found = np.flatnonzero((second >= IN_THE_RUNNING * first) & (own >= IN_THE_RUNNING * first))
    return found, second[found] / first[found]


def calibrated(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities under the temperature that makes the labels most likely: float64 `[n, n_classes]`.

    Args:
        probabilities: out of fold `[n, n_classes]`.
        labels: int64 `[n]`.
    """
    logits = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), SMALLEST_PROBABILITY))
    rows = np.arange(len(labels))

    def surprise(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    best = minimize_scalar(surprise, bounds=(-WIDEST, WIDEST), method="bounded").x
    return np.asarray(np.exp(log_softmax(logits / np.exp(best), axis=1)), dtype=np.float64)
