"""How much of a data set a run is built from."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.modalities.raw import RawData, RawSplit
from trak_core.seeds import derive_seed

MAX_TRAIN = 100_000
"""Train examples that a run may have."""
USUAL_N_TEST = 1500
"""Test examples that are explained, unless another number is asked for."""
MAX_SCORES = 200_000_000
"""Scores of every class that are computed at once; more would need more memory than most machines have."""


def sampled(raw: RawData, n_train: int | None = None, n_test: int | None = None, seed: int = 0) -> RawData:
    """The data with so many train and test examples, every class with its share; a note says what was drawn.

    None stands for all train examples, and for up to 1,500 test examples, or fewer where there are very many classes or
    train examples.

    Raises:
        InvalidSettingError: there are not so many, or too many for a run.
    """
    if (asked := n_train or len(raw.train)) > MAX_TRAIN:
        raise InvalidSettingError(
            f"{raw.name}: {asked:,} train examples, and a run may have {MAX_TRAIN:,}; draw fewer, "
            "n_train=20000 for example."
        )
    notes = list(raw.notes)
    train = raw.train
    if n_train is not None and n_train != len(raw.train):
        train = _drawn(raw.train, "n_train", n_train, seed)
        notes.append(f"{n_train:,} of {len(raw.train):,} train examples were drawn, as was asked for.")
    test = raw.test
    n_classes = max(1, len(raw.class_names))
    most = MAX_SCORES // (n_classes * len(train))
    if n_test is None:
        n_test = min(len(raw.test), max(min(USUAL_N_TEST, most), len(np.unique(raw.test.labels))))
        why = "enough to see what the model does; n_test gives another number"
    else:
        why = "as was asked for"
    if n_test > most:
        raise InvalidSettingError(
            f"{raw.name}: {n_test:,} test examples, {len(raw.class_names):,} classes and {len(train):,} train examples "
            f"make more scores than the {MAX_SCORES:,} that fit into memory; draw at most "
            f"{MAX_SCORES // (n_classes * n_test):,} train examples (n_train), or fewer test examples "
            "(n_test)."
        )
    if n_test != len(raw.test):
        test = _drawn(raw.test, "n_test", n_test, seed)
        notes.append(f"{n_test:,} of {len(raw.test):,} test examples were drawn, {why}.")
    return replace(raw, train=train, test=test, notes=tuple(notes))


def _drawn(split: RawSplit, name: str, n: int, seed: int) -> RawSplit:
    n_classes = len(np.unique(split.labels))
    if not n_classes <= n <= len(split):
        raise InvalidSettingError(
            f"{name}={n:,}; it must be from {n_classes:,}, one for each class, to {len(split):,}, all that there are."
        )
    return split.take(draw(split.labels, n, seed))


def draw(labels: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """`n` rows in ascending order, int64, every class with its share of them and with one at least.

    Args:
        labels: int64 `[n_rows]`.
        n: from the number of classes to the number of rows.
        seed: of the draw.
    """
    classes, counts = np.unique(labels, return_counts=True)
    due = counts * (n / len(labels))
    shares = np.maximum(1, np.floor(due)).astype(np.int64)
    while (missing := n - shares.sum()) != 0:
        # The class that is furthest from its due gives or takes one; a class keeps one, and takes what it has at most.
        if missing > 0:
            shares[np.argmax(np.where(shares < counts, due - shares, -np.inf))] += 1
        else:
            shares[np.argmax(np.where(shares > 1, shares - due, -np.inf))] -= 1
    kept = [
        np.random.default_rng(derive_seed(seed, "sample", int(label))).permutation(np.flatnonzero(labels == label))[:k]
        for label, k in zip(classes, shares, strict=True)
    ]
    return np.sort(np.concatenate(kept))
