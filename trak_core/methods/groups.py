"""Groups of train examples, such as the documents that passages come from: what a method says of each as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.errors import InvalidSettingError
from trak_core.methods.method import Scores


@dataclass(frozen=True)
class Groups:
    """Which group each example is in.

    Raises:
        InvalidSettingError: an example is in no group, or a group has no examples.
    """

    of: NDArray[np.int64]  # number of the group of each example, int64 `[n]`
    names: tuple[str, ...]  # of the groups, by their numbers

    def __post_init__(self) -> None:
        wrong = np.flatnonzero((self.of < 0) | (self.of >= len(self.names)))
        if len(wrong):
            raise InvalidSettingError(
                f"groups: example {wrong[0]} is in group {self.of[wrong[0]]}, and there are {len(self.names)} groups, "
                f"numbered from 0; give each example one of them, a group of its own where it belongs to none."
            )
        empty = np.setdiff1d(np.arange(len(self.names)), self.of)
        if len(empty):
            raise InvalidSettingError(
                f"groups: {self.names[empty[0]]!r} has no examples, so that there is nothing to ask about it; leave it "
                "out."
            )

    @classmethod
    def of_names(cls, names: Sequence[str]) -> Groups:
        """Groups by the name that is given for each example; in the order in which names come first."""
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return cls(np.array([numbers[name] for name in names], dtype=np.int64), tuple(numbers))

    def __len__(self) -> int:
        return len(self.names)

    def members(self, group: int) -> NDArray[np.int64]:
        """Numbers of the examples of a group, rising."""
        return np.flatnonzero(self.of == group)

    def sums(self, values: Tensor) -> Tensor:
        """Values of examples `[m, n]` summed over each group: `[m, n_groups]`."""
        where = torch.from_numpy(self.of).to(values.device).expand(len(values), -1)
        return values.new_zeros(len(values), len(self)).scatter_add_(1, where, values)

    def check(self, n: int, what: str) -> None:
        """Refuses groups of another number of examples.

        Raises:
            InvalidSettingError: they are of other examples than `n` of `what`.
        """
        if len(self.of) != n:
            raise InvalidSettingError(
                f"groups hold {len(self.of):,} examples, and there are {n:,} {what} examples; give one group for each."
            )


def group_sums(scores: Scores, groups: Groups) -> Tensor:
    """Scores of train examples summed over groups of them `[n_test, n_groups]`: what a method says of each as a whole.

    Raises:
        InvalidSettingError: the groups are of another number of train examples.
    """
    found = []
    for block in scores.blocks():
        groups.check(block.shape[1], "train")
        found.append(groups.sums(block))
    return torch.cat(found)
