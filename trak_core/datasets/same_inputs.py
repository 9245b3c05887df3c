"""Inputs that are the same, too many for a model to learn from: said before anything is trained."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOSTLY = 0.5
"""Share of inputs that are one and the same from which on it is said."""
FEWEST = 5
"""Of fewer inputs than that nothing is said."""
NAMED = 5
"""Classes that a note lists."""


def about_same(
    split: str, plural: str, groups: Sequence[Sequence[int]], labels: NDArray[np.int64], class_names: Sequence[str]
) -> list[str]:
    """Notes where all or most inputs of a split are one and the same, or those of its classes are.

    Args:
        split: what people call it.
        plural: what people call its examples.
        groups: numbers of its examples that have the same input, a group each; those with an input of their own are
            left out.
        labels: of its examples `[n]`.
        class_names: of the labels 0, 1, ...
    """
    n, largest = len(labels), max(map(len, groups), default=1)
    if n < FEWEST:
        return []
    n_different = n - sum(len(group) - 1 for group in groups if group)
    if largest == n:
        return [f"All {n:,} {split} {plural} are the same: nothing but the shares of classes can be learnt from them."]
    different = f"there are {n_different:,} different ones among {n:,}"
    n_classes = len(class_names)
    counts, most, whose = np.bincount(labels, minlength=n_classes), np.ones(n_classes, np.int64), np.arange(n_classes)
    for number, group in enumerate(groups):
        of_group = np.bincount(labels[list(group)], minlength=n_classes) if len(group) > 1 else most
        whose[of_group > most] = n_classes + number
        most = np.maximum(most, of_group)
    alike = (counts >= FEWEST) & (most >= MOSTLY * counts)
    how = "the same" if (most == counts)[alike].all() else "mostly the same"
    if alike.all() and len(set(whose.tolist())) > 1:
        return [f"Within each class the {split} {plural} are {how}; {different}. Explanations cannot tell them apart."]
    if largest >= MOSTLY * n:
        return [f"{largest:,} of {n:,} {split} {plural} are the same; {different}."]
    if not alike.any():
        return []
    names = [f"{class_names[i]!r} ({most[i]:,} of {counts[i]:,})" for i in np.flatnonzero(alike)[:NAMED]]
    more = f" and {n_more:,} more" if (n_more := int(alike.sum()) - NAMED) > 0 else ""
    classes = "class" if alike.sum() == 1 else "classes"
    return [f"The {split} {plural} of the {classes} {', '.join(names)}{more} are {how}."]
