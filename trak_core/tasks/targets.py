"""All that can be asked about examples, each target once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.tasks.task import Task


@dataclass(frozen=True)
class Targets:
    """The targets of n examples."""

    every: Tensor  # the default target of each example and all further ones, each once `[n, n_targets, ...]`
    default: Tensor  # place of the default target among them, int64 `[n]`
    # number of the target in the first place. Target 0 is the default one and further ones are numbered from 1, so it
    # is 1 where the default target is one of them and has no place of its own.
    first: int

    @classmethod
    def of(cls, task: Task, outputs: Tensor, target: Tensor) -> "Targets":
        """The targets that a task gives for outputs `[n, ...]` of a model and default targets `[n, ...]`."""
        further = task.targets(outputs, target)
        alone = torch.zeros(len(target), dtype=torch.int64, device=target.device)
        if further is None:
            return cls(target[:, None], alone, 0)
        is_default = (further == target[:, None]).reshape(*further.shape[:2], -1).all(-1)
        if bool(is_default.any(1).all()):
            return cls(further, is_default.int().argmax(1), 1)
        return cls(torch.cat([target[:, None], further], dim=1), alone, 0)

    @property
    def has_further(self) -> bool:
        """Whether there is anything to ask besides the default target."""
        return self.every.shape[1] > 1

    @property
    def is_default(self) -> Tensor:
        """Which place is that of the default target, bool `[n, n_targets]`."""
        return torch.arange(self.every.shape[1], device=self.default.device) == self.default[:, None]
