"""The product that most methods are: query feature x operator x train feature x weight of the train example.

    scores = mean over checkpoints of (psi A) Phi^T diag(w)

A method brings the features, psi with its operator A applied already; this file multiplies them block by block, so that
scores `[n_test, n_train]` never lie in memory unless somebody asks for all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from trak_core.methods.method import Scores

Inner = Callable[[Tensor, Tensor], Tensor]


def plain_inner(left: Tensor, right: Tensor) -> Tensor:
    """Inner products `[n_left, n_right]` of rows."""
    return left @ right.T


@dataclass(frozen=True)
class Term:
    """What one checkpoint gives."""

    query: Tensor  # features of the test examples with the operator applied `[n_test, k]`
    # features of the train examples `[n_train, k]`; None where `query` is over train examples already
    train: Tensor | None
    weight: Tensor  # of each train example `[n_train]`
    inner: Inner = plain_inner  # inner products of rows
    own: Tensor | None = None  # self-influence `[n_train]` at this checkpoint, None where the method has none

    def settled(self) -> "Term":
        """The same with the products in place of the features, where these are more numbers."""
        if self.train is None or len(self.query) * len(self.train) > self.query.numel() + self.train.numel():
            return self
        return replace(self, query=self.product(slice(None)), train=None)

    def product(self, rows: slice) -> Tensor:
        """Scores without the weight `[n_rows, n_train]`."""
        return self.query[rows] if self.train is None else self.inner(self.query[rows], self.train)


@dataclass
class ProductScores(Scores):
    """Scores of one or several checkpoints."""

    terms: Sequence[Term]  # one a checkpoint
    settings: dict[str, float] = field(default_factory=dict)  # what was chosen, by name

    @property
    def n_test(self) -> int:
        """As in `Scores`."""
        return len(self.terms[0].query)

    @property
    def n_checkpoints(self) -> int:
        """As in `Scores`."""
        return len(self.terms)

    def first(self, n_checkpoints: int) -> "ProductScores":
        """As in `Scores`."""
        return replace(self, terms=self.terms[:n_checkpoints])

    def _each(self, rows: slice) -> Tensor:
        return torch.stack([term.product(rows) * term.weight for term in self.terms])

    def block(self, rows: slice) -> Tensor:
        """As in `Scores`."""
        return self._each(rows).mean(0)

    def standard_error(self, rows: slice) -> Tensor | None:
        """As in `Scores`."""
        if self.n_checkpoints < 2:
            return None
        errors: Tensor = self._each(rows).std(0) / self.n_checkpoints**0.5
        return errors

    def self_influence(self) -> Tensor | None:
        """As in `Scores`."""
        own = [term.own for term in self.terms if term.own is not None]
        return torch.stack(own).mean(0) if own else None
