"""Which examples a model sees when, and at what learning rate: all of it follows from the seed and the settings.

The random subsets are those on which models are retrained: the ledger that evidence is measured against.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.errors import InvalidSettingError
from trak_core.seeds import derive_seed

Rules = Mapping[str, tuple[Callable[[float], bool], str]]
"""For numbers among settings by name, whether one will do, and what is allowed."""


def check_training(settings: Any, rules: Rules) -> None:
    """Refuses settings of a training, of which one of `epochs` and `steps` says how long, that cannot be.

    Raises:
        InvalidSettingError: it is so.
    """
    if (settings.epochs is None) == (settings.steps is None):
        raise InvalidSettingError(
            f"epochs={settings.epochs!r} and steps={settings.steps!r}; give one of them, a whole number from 1, and "
            "None for the other."
        )
    for name in ("epochs" if settings.steps is None else "steps", "batch_size"):
        value = getattr(settings, name)
        if not isinstance(value, Integral) or value < 1:
            raise InvalidSettingError(f"{name}={value!r}; it must be a whole number from 1.")
    for name, (fits, allowed) in rules.items():
        value = getattr(settings, name)
        if not isinstance(value, Real) or not fits(float(value)):
            raise InvalidSettingError(f"{name}={value!r}; it must be a number {allowed}.")


@dataclass(frozen=True)
class TrainingSettings:
    """Stochastic gradient descent with momentum; the learning rate falls linearly to zero.

    Its length is given by `epochs`, or by `steps` with `epochs=None`: then models trained on subsets of any size get
    the same number of steps, and a small data set is passed over as often as that takes.

    Raises:
        InvalidSettingError: a setting cannot be.
    """

    epochs: int | None  # passes over the members of the subset; None where `steps` says how long
    batch_size: int  # examples a step; the last, smaller batch of an epoch is skipped
    learning_rate: float  # of the first step
    momentum: float  # heavy-ball coefficient
    weight_decay: float  # added to the gradient as `weight_decay * parameter`
    steps: int | None = field(default=None, kw_only=True)  # of the optimizer; None where `epochs` says how long

    def __post_init__(self) -> None:
        rules: Rules = {
            "learning_rate": (lambda value: 0 < value < math.inf, "above 0"),
            "momentum": (lambda value: 0 <= value < 1, "from 0 to below 1"),
            "weight_decay": (lambda value: 0 <= value < math.inf, "0 or more"),
        }
        check_training(self, rules)

    def facts(self) -> dict[str, Any]:
        """The settings by name, as a run keeps them: `epochs` or `steps`, whichever says how long."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_facts(cls, kept: Mapping[str, Any]) -> Self:
        """The settings exactly as they were when `facts` was asked; whatever is missing may raise anything."""
        return cls(**{"epochs": None, **kept})


@dataclass(frozen=True)
class Schedule:
    """The steps of one training run over `n_members` examples.

    Raises:
        InvalidSettingError: there are fewer examples than a batch holds.
    """

    settings: TrainingSettings  # of the optimizer
    n_members: int  # examples that are trained on

    def __post_init__(self) -> None:
        if self.n_members < self.settings.batch_size:
            raise InvalidSettingError(
                f"batch_size={self.settings.batch_size} is larger than the subset of {self.n_members} examples; "
                f"use a batch size of at most {self.n_members}."
            )

    @property
    def steps_an_epoch(self) -> int:
        """Whole batches in one pass."""
        return self.n_members // self.settings.batch_size

    @property
    def n_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.settings.steps or self.steps_an_epoch * (self.settings.epochs or 0)

    def learning_rate(self, step: int) -> float:
        """Of the step with that number, from 0."""
        return self.settings.learning_rate * (1 - step / self.n_steps)

    def batches(self, seed: int) -> Tensor:
        """Places among the members; see `draw_batches`."""
        return draw_batches(self.n_members, self.settings.batch_size, self.n_steps, seed)


def draw_batches(n_members: int, batch_size: int, n_steps: int, seed: int) -> Tensor:
    """Places among the members `[n_steps, batch_size]`, int64 on the CPU, drawn anew for every epoch of whole batches.

    Drawn on the CPU, so that a seed means the same batches on every device.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "batches"))
    steps_an_epoch = n_members // batch_size
    n_orders = math.ceil(n_steps / steps_an_epoch)
    orders = [torch.randperm(n_members, generator=generator)[: steps_an_epoch * batch_size] for _ in range(n_orders)]
    return torch.cat(orders).view(-1, batch_size)[:n_steps]


def draw_half_subsets(n_subsets: int, n_train: int, seed: int) -> NDArray[np.bool_]:
    """Bool masks `[n_subsets, n_train]`, each with `n_train // 2` members drawn without replacement.

    Source: the linear datamodeling score of Park et al. 2023 (arXiv 2303.14186), section 2, with alpha = 0.5.
    """
    return draw_subsets(n_subsets, n_train, n_train // 2, derive_seed(seed, "subsets"))


def draw_subsets(n_subsets: int, n_train: int, n_members: int, seed: int) -> NDArray[np.bool_]:
    """Bool masks `[n_subsets, n_train]` with `n_members` members each; the first of many are the first of few.

    Raises:
        InvalidSettingError: a subset would be empty or larger than the training set.
    """
    if not 1 <= n_members <= n_train:
        raise InvalidSettingError(f"n_members={n_members}; a subset of {n_train} examples has from 1 to {n_train}.")
    generator = np.random.default_rng(seed)
    masks = np.zeros((n_subsets, n_train), dtype=bool)
    for mask in masks:
        mask[generator.permutation(n_train)[:n_members]] = True
    return masks
