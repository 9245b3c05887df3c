"""A linear model on the inputs of a run: what its models should at least reach, in seconds at most."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from trak_core.seeds import derive_seed

N_ROWS = 5000
N_COLUMNS = 2000
N_CHOOSING = 1000
"""Train rows on which the strength of the penalty is chosen, a quarter of them held out."""
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Inverse penalties that are tried; rows are about of length 1."""
N_STEPS = 100


def drawn_rows(n_train: int, seed: int) -> NDArray[np.int64]:
    """The train rows that a linear model is fitted on, up to 5,000 in random order."""
    return np.random.default_rng(derive_seed(seed, "linear baseline")).permutation(n_train)[:N_ROWS]


def linear_answers(train: Any, targets: NDArray[Any], test: Any) -> NDArray[Any] | None:
    """What logistic regression answers for test rows `[n_test]`, or ridge regression where targets are no classes.

    The 2,000 columns that vary most are used, and the penalty is chosen on a held-out part of the train rows. None
    where rows are not finite, so that no linear model takes them.

    Args:
        train: rows `[n_train, d]` in random order, dense or sparse; columns of dense ones are standardised.
        targets: of the train rows, int64 classes or floats `[n_train]`.
        test: rows `[n_test, d]`.
    """
    if not all(np.isfinite(rows.data if issparse(rows) else rows).all() for rows in (train, test)):
        return None
    train, test = _comparable(train, test)
    is_class = targets.dtype.kind in "iu"
    if is_class and len(np.unique(targets)) < 2:
        return np.full(test.shape[0], targets[0])
    strength = _chosen(train[:N_CHOOSING], targets[:N_CHOOSING], is_class)
    return np.asarray(_fitted(train, targets, strength, is_class).predict(test))


def _chosen(rows: Any, targets: NDArray[Any], is_class: bool) -> float:
    """The strength that does best on the last quarter of the rows, the weakest model among equals."""
    n_fit = len(targets) * 3 // 4
    fit, held = targets[:n_fit], targets[n_fit:]
    if not len(held) or len(np.unique(fit)) < 2:
        return STRENGTHS[0]
    found = [_fitted(rows[:n_fit], fit, strength, is_class).score(rows[n_fit:], held) for strength in STRENGTHS]
    return STRENGTHS[int(np.argmax(found))]


def _fitted(rows: Any, targets: NDArray[Any], strength: float, is_class: bool) -> Any:
    # Imported here: scikit-learn takes a second to import and only a build needs it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many steps are enough for what is asked here
        if is_class:
            return LogisticRegression(C=strength, max_iter=N_STEPS).fit(rows, targets)
        return Ridge(alpha=1 / strength).fit(rows, targets)


def _comparable(train: Any, test: Any) -> tuple[Any, Any]:
    """Rows of which lengths are about 1, with the columns that vary most in training."""
    if issparse(train):
        weight = np.asarray(train.multiply(train).mean(axis=0)).ravel()
        kept = _largest(weight)
        return train[:, kept], test[:, kept]
    train, test = np.asarray(train, dtype=np.float32), np.asarray(test, dtype=np.float32)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    kept = _largest(deviation)
    kept = kept[deviation[kept] > 0]
    scale = deviation[kept] * np.float32(np.sqrt(max(1, len(kept))))
    if not len(kept):
        return np.zeros((len(train), 1), dtype=np.float32), np.zeros((len(test), 1), dtype=np.float32)
    return (train[:, kept] - mean[kept]) / scale, (test[:, kept] - mean[kept]) / scale


def _largest(values: NDArray[Any]) -> NDArray[np.int64]:
    return np.sort(np.argsort(-values, kind="stable")[:N_COLUMNS])
