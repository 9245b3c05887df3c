"""Test examples put aside where data come without any."""

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.seeds import derive_seed

__all__ = ["check_classes", "check_share", "split_note", "split_off"]


def split_off(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to train on and the rows put aside as test examples: two int64 arrays in ascending order.

    Each class with two or more examples gives at least one and keeps at least one; a single one stays in train. What
    is drawn from one class does not depend on the others.

    Args:
        labels: int64 `[n]`.
        share: of each class, between 0 and 1, that is put aside.
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
            is_test[np.random.default_rng(derive_seed(seed, "test split", int(label))).permutation(rows)[:n_test]] = (
                True
            )
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def check_share(share: float) -> None:
    """Refuses a share of test examples that leaves nothing to one of the splits.

    Raises:
        InvalidSettingError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise InvalidSettingError(f"the share of test examples is {share}; give a number between 0 and 1, such as 0.2.")


def split_note(source: str, share: float) -> str:
    """The sentence that says that test examples were put aside.

    Args:
        source: what is missing, such as "test folder".
        share: of each class.
    """
    return f"There is no {source}; {100 * share:g}% of each class were put aside as test examples."


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
