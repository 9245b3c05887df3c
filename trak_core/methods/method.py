"""What every method says of itself, and what it gives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from trak_core.methods.context import MethodContext, Need

Keeps = Literal["nothing", "packed", "flat", "queries"]
BLOCK = 256
"""Test examples whose scores are computed at once."""


@dataclass(frozen=True)
class MethodInfo:
    """What people read about a method, and what it needs; as a decorator it makes a `Method` of a function."""

    name: str  # the key in columns, addresses and the command line
    title: str  # the name on pages
    description: str  # one plain sentence
    is_baseline: bool = False  # True for methods that real attribution must beat
    # True for negative controls: rules that know nothing of attribution; whoever does no better has shown nothing
    is_control: bool = False
    needs: tuple[Need, ...] = ()  # what it cannot do without
    max_checkpoints: int | None = None  # how many it averages over at most, where each costs much; None for all
    has_ridge: bool = False  # True where `MethodContext.ridge` and `proj_dim` are settings of it
    # what it holds at once of gradients: those of all examples at all its checkpoints, in packed rows or flat ones of
    # all parameters; flat ones of the test examples at one checkpoint; or nothing that grows with them
    keeps: Keeps = "nothing"

    @property
    def uses_checkpoints(self) -> bool:
        """True when scores are averaged over checkpoints."""
        return Need.CHECKPOINTS in self.needs or Need.TRAINING_LOG in self.needs

    def __call__(self, fit: Callable[[MethodContext], "Scores"]) -> "Method":
        """The method that fits by this function."""
        return Method(self, fit)


@dataclass(frozen=True)
class Method:
    """One way to give scores: a function in a file of this folder, and its name in `registry.py`."""

    info: MethodInfo  # what people read, and what it needs
    fit: Callable[[MethodContext], "Scores"]  # gives scores for a context, whose needs are met


class Scores(ABC):
    """What a method gives for the test examples of its context."""

    settings: dict[str, float]  # what was chosen, by name

    @property
    @abstractmethod
    def n_test(self) -> int:
        """Number of test examples."""

    @property
    @abstractmethod
    def n_checkpoints(self) -> int:
        """How many checkpoints the scores are averaged over; 0 where they use none."""

    @abstractmethod
    def first(self, n_checkpoints: int) -> "Scores":
        """Scores by the first checkpoints alone, with the same settings."""

    @abstractmethod
    def block(self, rows: slice) -> Tensor:
        """Scores `[n_rows, n_train]` of some test examples."""

    def standard_error(self, rows: slice) -> Tensor | None:
        """Standard errors `[n_rows, n_train]` of the scores over checkpoints; None where there is one, or none."""
        return None

    def self_influence(self) -> Tensor | None:
        """Score of each train example for itself `[n_train]`; None where the method has none."""
        return None

    def blocks(self, size: int = BLOCK) -> Iterator[Tensor]:
        """Scores of all test examples in order, in blocks `[size, n_train]`."""
        for start in range(0, self.n_test, size):
            yield self.block(slice(start, start + size))

    def predict(self, masks: Tensor) -> Tensor:
        """Prediction outcomes `[n_subsets, n_test]` of subsets, bool `[n_subsets, n_train]`, up to a constant."""
        return torch.cat([masks.to(block) @ block.T for block in self.blocks()], dim=1)


@dataclass
class ScoreMatrix(Scores):
    """Scores that lie in memory."""

    values: Tensor  # `[n_test, n_train]`
    settings: dict[str, float] = field(default_factory=dict)  # what was chosen, by name
    errors: Tensor | None = None  # standard errors of `values`, None where unknown
    own: Tensor | None = None  # self-influence `[n_train]`, None where there is none
    of_each: Sequence[Tensor] = ()  # scores `[n_test, n_train]` by each checkpoint; empty where none are used

    @classmethod
    def mean(cls, of_each: Sequence[Tensor], settings: dict[str, float] | None = None) -> "ScoreMatrix":
        """The mean of scores of several models, with its standard error."""
        stacked = torch.stack(list(of_each))
        errors = stacked.std(0) / len(stacked) ** 0.5 if len(stacked) > 1 else None
        return cls(stacked.mean(0), settings or {}, errors, of_each=of_each)

    @property
    def n_test(self) -> int:
        """As in `Scores`."""
        return len(self.values)

    @property
    def n_checkpoints(self) -> int:
        """As in `Scores`."""
        return len(self.of_each)

    def first(self, n_checkpoints: int) -> "ScoreMatrix":
        """As in `Scores`."""
        return ScoreMatrix.mean(self.of_each[:n_checkpoints], self.settings)

    def block(self, rows: slice) -> Tensor:
        """As in `Scores`."""
        return self.values[rows]

    def standard_error(self, rows: slice) -> Tensor | None:
        """As in `Scores`."""
        return None if self.errors is None else self.errors[rows]

    def self_influence(self) -> Tensor | None:
        """As in `Scores`."""
        return self.own


def choose(
    context: MethodContext, candidates: Iterable[float], default: float, predict: Callable[[float, Tensor], Tensor]
) -> float:
    """The candidate setting that predicts the tuning subsets best; the default where there is nothing to tune by.

    `predict` gives the outcomes `[n_subsets, n_test]` that a candidate predicts for masks `[n_subsets, n_train]`.
    """
    tuning = context.tuning
    if tuning is None:
        return default
    return best({setting: tuning.quality(predict(setting, tuning.masks)) for setting in candidates}, default)


def best(quality: Mapping[float, float], default: float) -> float:
    """The setting with the highest quality that is defined, the first of equal ones; the default where none is."""
    defined = {setting: value for setting, value in quality.items() if value == value}
    return max(defined, key=lambda setting: defined[setting]) if defined else default
