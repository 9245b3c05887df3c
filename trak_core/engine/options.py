"""What can be chosen about an attribution, checked before anything is computed."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trak_core.errors import InvalidSettingError
from trak_core.gradients import Precision
from trak_core.methods import DEFAULT_RIDGE, MethodInfo
from trak_core.projection import PROJECTIONS

PRECISIONS: tuple[Precision, ...] = ("float64", "float32", "bfloat16", "float16")
MIN_BUDGET = 2**24


@dataclass(frozen=True)
class Options:
    """The settings of an `Attributor`, which explains them.

    Raises:
        InvalidSettingError: a setting is out of its range.
    """

    proj_dim: int | None = None
    seed: int = 0
    projection: str = "auto"
    parameters: str | Sequence[str] | None = None
    gradients: str = "auto"
    ridge: float = DEFAULT_RIDGE
    precision: Precision = "float32"
    batch_size: int | None = None
    memory_budget: int = 2**30

    def __post_init__(self) -> None:
        self._within("proj_dim", self.proj_dim, 1, 2**24)
        self._within("seed", self.seed, 0, 2**62)
        self._within("batch_size", self.batch_size, 1, 2**20)
        self._within("memory_budget", self.memory_budget, MIN_BUDGET, 2**50)
        for name, allowed in (("projection", ("auto", *PROJECTIONS)), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise InvalidSettingError(f"{name}={getattr(self, name)!r}; it must be one of {', '.join(allowed)}.")
        try:
            works = 0 <= float(self.ridge) < float("inf")
        except (TypeError, ValueError):
            works = False
        if not works:
            raise InvalidSettingError(
                f"ridge={self.ridge!r} must be a finite number of 0 or more; {DEFAULT_RIDGE:g} is usual."
            )
        if self.projection == "none" and self.proj_dim is not None:
            raise InvalidSettingError(
                f"proj_dim={self.proj_dim} with projection='none'; whole gradients have no projection dimension. "
                "Leave out one of the two."
            )

    def check_method(self, info: MethodInfo, has_store: bool) -> None:
        """Refuses settings that a method does not have, a store included.

        Raises:
            InvalidSettingError: names the setting.
        """
        if info.name == "trak":
            return
        wrong = {
            "store": has_store,
            "ridge": self.ridge != DEFAULT_RIDGE and not info.has_ridge,
            "proj_dim": self.proj_dim is not None and not info.has_ridge,
            f"projection={self.projection!r}": self.projection not in ("auto", "none"),
        }
        for setting, is_wrong in wrong.items():
            if is_wrong:
                raise InvalidSettingError(
                    f"{setting} is given, but method {info.name!r} has no such setting; leave it out, or use "
                    "method='trak'."
                )

    def _within(self, name: str, value: int | None, low: int, high: int) -> None:
        if value is None:
            return
        try:
            number = None if isinstance(value, bool) else operator.index(value)
        except TypeError:
            number = None
        if number is None or not low <= number <= high:
            raise InvalidSettingError(f"{name}={value!r}; it must be a whole number from {low:,} to {high:,}.")
        object.__setattr__(self, name, number)  # a numpy number is one too, but JSON does not know it

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights, gradients and features."""
        return torch.float64 if self.precision == "float64" else torch.float32
