"""Test examples held out where data come without any."""

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.seeds import derive_seed


def split_off(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to train on and the rows held out as test examples: two int64 arrays in ascending order.

    Each class with two or more examples gives at least one and keeps at least one; a single one stays in train. What
    is drawn from one class does not depend on the others.

    Args:
        labels: int64 `[n]`.
        share: of each class, between 0 and 1, that is held out.
        seed: of the draw.

    Raises:
        InvalidSettingError: `share` is not between 0 and 1.
    """
    check_share(share)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            n_test = min(max(round(share * len(rows)), 1), len(rows) - 1)
            shuffled = np.random.default_rng(derive_seed(seed, "test split", int(label))).permutation(rows)
            is_test[shuffled[:n_test]] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


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


def check_share(share: float) -> None:
    """Refuses a share of test examples that leaves nothing to one of the splits.

    Raises:
        InvalidSettingError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise InvalidSettingError(f"the share of test examples is {share}; give a number between 0 and 1, such as 0.2.")


def check_classes(source: object, class_names: tuple[str, ...], labels: NDArray[np.int64]) -> None:
    """Refuses train labels of a single class, from which no model learns anything.

    Raises:
        InvalidDataError: there are fewer than two classes.
    """
    found = np.unique(labels)
    if len(found) == 1:
        raise InvalidDataError(
            f"{source} has examples of one class only, {class_names[found[0]]!r}; give two classes or more, so that "
            "there is something to tell apart."
        )
