"""What is left of predictions and outcomes at fixed class counts.

The share of each class differs from one random subset to the next, and a model that has learnt little follows the
shares: whatever predicts them gets a high LDS for nothing. So the counts of each class in the subsets are regressed
out of both sides (least squares with an intercept) before they are ranked, which makes the LDS a partial rank
correlation. Halves drawn with fixed class counts measure the same at the price of further models.

Any other groups will do as well as classes: documents, sources, or numbers that examples have.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST_LEFT = 4
"""Subsets that there must be besides two for each group."""
NOTHING_LEFT = 1e-6
"""Share of the spread of a column below which its residual is rounding, and counts as 0."""
ROUNDING = 1e-13
"""Of the size of the numbers themselves, where a column has no spread."""


def group_counts(masks: NDArray[np.bool_], groups: NDArray[Any]) -> Floats:
    """How many members of each group every subset has: `[n_subsets, n_groups]`.

    Args:
        masks: members of the subsets, bool `[n_subsets, n_train]`.
        groups: of the train examples: the number or name of the group of each `[n_train]`, such as its class; or what
            is to be summed up `[n_train, n_groups]`, where an example may be in several.
    """
    if groups.ndim == 1:
        groups = groups[:, None] == np.unique(groups)[None]
    return masks.astype(np.float64) @ groups.astype(np.float64)


def why_not_fixed(n_subsets: int, n_groups: int, subsets: str = "random halves") -> str:
    """Why counts of so many groups cannot be regressed out of so many subsets, as a sentence; empty where they can.

    `subsets` is what they are called in it.
    """
    needed = 2 * n_groups + LEAST_LEFT
    if n_subsets >= needed:
        return ""
    return (
        f"LDS at fixed class counts cannot be measured: {n_groups:,} classes need {needed:,} {subsets}, and there "
        f"are {n_subsets:,}; more would do."
    )


@dataclass(frozen=True)
class FixedCounts:
    """The counts of some groups in subsets, to be regressed out."""

    counts: Floats  # `[n_subsets, n_groups]`

    @property
    def can_be_measured(self) -> bool:
        """True where there are enough subsets for so many groups."""
        return not why_not_fixed(*self.counts.shape)

    @cached_property
    def basis(self) -> Floats:
        """Orthonormal columns `[n_subsets, rank]` that span the counts and an intercept, without collinear ones."""
        centred = self.counts - self.counts.mean(axis=0)
        left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
        kept = left[:, sizes > 1e-9 * max(1.0, float(sizes.max(initial=0.0)))]
        return np.column_stack([np.full(len(kept), len(kept) ** -0.5), kept])

    @property
    def n_regressed(self) -> int:
        """Degrees of freedom that the counts take."""
        return int(self.basis.shape[1]) - 1

    def residuals(self, values: Floats) -> Floats:
        """Values `[n_subsets, ...]` less what a linear function of the counts says of them.

        A column whose residual is below 1e-6 of its spread follows the counts and nothing else: it becomes exactly 0.
        """
        flat = values.reshape(len(values), -1)
        left = flat - self.basis @ (self.basis.T @ flat)
        spread = np.linalg.norm(flat - flat.mean(axis=0), axis=0)
        rounding = np.maximum(NOTHING_LEFT * spread, ROUNDING * np.linalg.norm(flat, axis=0))
        left[:, np.linalg.norm(left, axis=0) <= rounding] = 0
        return left.reshape(values.shape)
