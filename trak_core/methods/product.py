"""The product that most methods are: query feature x operator x train feature x weight of the train example.

    scores = mean over checkpoints of (psi A) Phi^T diag(w)                          grad_dot, influence, LoGra, ...
    scores = [mean over checkpoints of (psi A) Phi^T] diag(mean of w)                TRAK

A method brings the features, psi with its operator A applied already; this file multiplies them block by block, so that
scores `[n_test, n_train]` never lie in memory unless somebody asks for all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from trak_core.methods.kernels import soft_threshold
from trak_core.methods.method import BaseScores

__all__ = ["ProductScores", "Term"]

Inner = Callable[[Tensor, Tensor], Tensor]


def plain_inner(left: Tensor, right: Tensor) -> Tensor:
    """Inner products `[n_left, n_right]` of rows."""
    return left @ right.T


@dataclass(frozen=True)
class Term:
    """What one checkpoint gives.

    Attributes:
        query: features of the test examples with the operator applied `[n_test, k]`.
        train: features of the train examples `[n_train, k]`; None where `query` is over train examples already.
        weight: of each train example `[n_train]`.
        inner: inner products of rows.
        own: self-influence `[n_train]` at this checkpoint, None where the method has none; without the weight where
            weights are averaged by themselves.
    """

    query: Tensor
    train: Tensor | None
    weight: Tensor
    inner: Inner = plain_inner
    own: Tensor | None = None

    def product(self, rows: slice) -> Tensor:
        """Scores without the weight `[n_rows, n_train]`."""
        return self.query[rows] if self.train is None else self.inner(self.query[rows], self.train)


@dataclass
class ProductScores(BaseScores):
    """Scores of one or several checkpoints.

    Attributes:
        terms: one a checkpoint, or as many as `terms_a_checkpoint`.
        average_weights: True for TRAK, whose weights are averaged by themselves.
        settings: what was chosen, by name.
        threshold: scores are drawn towards 0 by so much.
        terms_a_checkpoint: more than one where a checkpoint stands for several models.
    """

    terms: Sequence[Term]
    average_weights: bool = False
    settings: dict[str, float] = field(default_factory=dict)
    threshold: float = 0.0
    terms_a_checkpoint: int = 1

    @property
    def n_test(self) -> int:  # type: ignore[override]
        """Number of test examples."""
        return len(self.terms[0].query)

    @property
    def n_checkpoints(self) -> int:
        """As in `Scores`."""
        return len(self.terms) // self.terms_a_checkpoint

    def first(self, n_checkpoints: int) -> "ProductScores":
        """As in `Scores`."""
        return replace(self, terms=self.terms[: n_checkpoints * self.terms_a_checkpoint])

    def _each(self, rows: slice) -> list[Tensor]:
        weight = torch.stack([term.weight for term in self.terms]).mean(0) if self.average_weights else None
        return [term.product(rows) * (term.weight if weight is None else weight) for term in self.terms]

    def block(self, rows: slice) -> Tensor:
        """As in `Scores`."""
        total = torch.stack(self._each(rows)).mean(0)
        return soft_threshold(total, self.threshold)

    def standard_error(self, rows: slice) -> Tensor | None:
        """As in `Scores`."""
        if self.n_checkpoints < 2:
            return None
        each, size = self._each(rows), self.terms_a_checkpoint
        # Versions of one checkpoint are no independent models, so that their mean counts as one.
        of_each = torch.stack([torch.stack(each[i : i + size]).mean(0) for i in range(0, len(each), size)])
        errors: Tensor = of_each.std(0) / self.n_checkpoints**0.5
        return errors

    def self_influence(self) -> Tensor | None:
        """As in `Scores`."""
        own = [term.own for term in self.terms if term.own is not None]
        if not own:
            return None
        mean = torch.stack(own).mean(0)
        if self.average_weights:
            mean = mean * torch.stack([term.weight for term in self.terms]).mean(0)
        return torch.nn.functional.softshrink(mean, self.threshold) if self.threshold else mean
