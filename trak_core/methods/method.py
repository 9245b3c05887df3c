"""What every method says of itself, and what it gives."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from trak_core.methods.context import MethodContext, Need, Tuning

Keeps = Literal["nothing", "packed", "flat", "queries"]
BLOCK = 256
"""Test examples whose scores are computed at once."""


@dataclass(frozen=True)
class MethodInfo:
    """What people read about a method, and what it needs."""

    name: str  # the key in columns, addresses and the command line
    title: str  # the name on pages
    description: str  # one plain sentence
    is_baseline: bool = False  # True for methods that real attribution must beat
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


class Scores(Protocol):
    """What a method gives for the test examples of its context."""

    @property
    def settings(self) -> dict[str, float]:
        """What was chosen, by name."""
        ...

    @property
    def n_checkpoints(self) -> int:
        """How many checkpoints the scores are averaged over; 0 where they use none."""
        ...

    def first(self, n_checkpoints: int) -> "Scores":
        """Scores by the first checkpoints alone, with the same settings."""
        ...

    def block(self, rows: slice) -> Tensor:
        """Scores `[n_rows, n_train]` of some test examples."""
        ...

    def standard_error(self, rows: slice) -> Tensor | None:
        """Standard errors `[n_rows, n_train]` of the scores over checkpoints; None where there is one, or none."""
        ...

    def self_influence(self) -> Tensor | None:
        """Score of each train example for itself `[n_train]`; None where the method has none."""
        ...

    def blocks(self, size: int = BLOCK) -> Iterator[Tensor]:
        """Scores of all test examples in order, in blocks `[size, n_train]`."""
        ...

    def predict(self, masks: Tensor) -> Tensor:
        """Prediction outcomes `[n_subsets, n_test]` of subsets, bool `[n_subsets, n_train]`, up to a constant."""
        ...


class Method(Protocol):
    """One way to give scores: a file in this folder and a line in `registry.py`."""

    @property
    def info(self) -> MethodInfo:
        """What people read, and what it needs."""
        ...

    def fit(self, context: MethodContext) -> Scores:
        """Scores for the context, whose needs are met."""
        ...


class BaseScores:
    """The parts of `Scores` that follow from the others."""

    settings: dict[str, float]
    n_test: int

    def block(self, rows: slice) -> Tensor:
        """As in `Scores`."""
        raise NotImplementedError

    def standard_error(self, rows: slice) -> Tensor | None:
        """As in `Scores`."""
        return None

    def self_influence(self) -> Tensor | None:
        """As in `Scores`."""
        return None

    def blocks(self, size: int = BLOCK) -> Iterator[Tensor]:
        """As in `Scores`."""
        for start in range(0, self.n_test, size):
            yield self.block(slice(start, start + size))

    def predict(self, masks: Tensor) -> Tensor:
        """As in `Scores`."""
        return torch.cat([masks.to(block) @ block.T for block in self.blocks()], dim=1)


@dataclass
class ScoreMatrix(BaseScores):
    """Scores that lie in memory."""

    values: Tensor  # `[n_test, n_train]`
    settings: dict[str, float] = field(default_factory=dict)  # what was chosen, by name
    errors: Tensor | None = None  # standard errors of `values`, None where unknown
    own: Tensor | None = None  # self-influence `[n_train]`, None where there is none
    of_each: Sequence[Tensor] = ()  # scores `[n_test, n_train]` by each checkpoint; empty where none are used

    @property
    def n_checkpoints(self) -> int:
        """As in `Scores`."""
        return len(self.of_each)

    def first(self, n_checkpoints: int) -> "ScoreMatrix":
        """As in `Scores`."""
        return ScoreMatrix.mean(self.of_each[:n_checkpoints], self.settings)

    @property
    def n_test(self) -> int:  # type: ignore[override]
        """Number of test examples."""
        return len(self.values)

    def block(self, rows: slice) -> Tensor:
        """As in `Scores`."""
        return self.values[rows]

    def standard_error(self, rows: slice) -> Tensor | None:
        """As in `Scores`."""
        return None if self.errors is None else self.errors[rows]

    def self_influence(self) -> Tensor | None:
        """As in `Scores`."""
        return self.own

    @classmethod
    def mean(cls, of_each: Sequence[Tensor], settings: dict[str, float] | None = None) -> "ScoreMatrix":
        """The mean of scores of several models, with its standard error."""
        stacked = torch.stack(list(of_each))
        errors = stacked.std(0) / len(stacked) ** 0.5 if len(stacked) > 1 else None
        return cls(stacked.mean(0), settings or {}, errors, of_each=of_each)


def choose(context: MethodContext, candidates: dict[float, Tensor], default: float) -> float:
    """The candidate setting that predicts the tuning subsets best; the default where there is nothing to tune by.

    Args:
        context: with or without tuning.
        candidates: setting to the outcomes that it predicts `[n_subsets, n_test]`.
        default: where nothing can be measured.
    """
    return default if context.tuning is None else best(qualities(context.tuning, candidates), default)


def qualities(tuning: Tuning, candidates: Mapping[float, Tensor]) -> dict[float, float]:
    """Setting to the quality of the outcomes that it predicts, `[n_subsets, n_test]`; NaN where it has none."""
    return {setting: tuning.quality(predicted) for setting, predicted in candidates.items()}


def best(quality: Mapping[float, float], default: float) -> float:
    """The setting with the highest quality that is defined, the first of equal ones; the default where none is."""
    defined = {setting: value for setting, value in quality.items() if value == value}
    return max(defined, key=lambda setting: defined[setting]) if defined else default
