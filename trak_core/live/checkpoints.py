"""What one checkpoint contributes to the scores of new inputs, prepared once so that an input costs small products.

Two ways, both the attribution of `trak_core.methods.kernels` for one checkpoint:

- `ExactCheckpoint` keeps the whole gradients of the train examples and the inverse of their kernel, as stored TRAK
  scores are made: k(z) (K + l I)^-1. Its memory grows with `n_train` squared.
- `FeatureCheckpoint` starts from the stored features phi (projected gradients) and keeps
  G = (Phi^T Phi + l I)^-1 Phi^T `[proj_dim, n_train]`, so that a new input costs phi(z) G. It takes runs of any size,
  and pays with the noise of the projection.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trak_core.gradients import Inputs, StateDict
from trak_core.methods import DualKernel, GradientRows, PrimalKernel
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed

__all__ = ["ExactCheckpoint", "FeatureCheckpoint", "LiveCheckpoint", "exact_bytes", "feature_bytes", "feature_map"]

BYTES = 4
"""Of a float32."""


class LiveCheckpoint(Protocol):
    """One checkpoint, ready to score new inputs."""

    def attribute(self, gradients: GradientRows, inputs: Inputs, targets: Tensor) -> Tensor:
        """Attributions `[m, n_train]` float32 of m inputs and what is asked about them `[m, ...]`."""
        ...


@dataclass(frozen=True)
class ExactCheckpoint:
    """A checkpoint with the exact kernel.

    Attributes:
        weights: of the model.
        train_rows: packed whole gradients of the train examples `[n_train, width]`.
        inverse: of the kernel with its ridge `[n_train, n_train]`.
    """

    weights: StateDict
    train_rows: Tensor
    inverse: Tensor

    @classmethod
    def of(
        cls, gradients: GradientRows, weights: StateDict, inputs: Inputs, labels: Tensor, ridge: float
    ) -> "ExactCheckpoint":
        """The checkpoint with these weights over train inputs and labels; `ridge` is relative."""
        rows = gradients.whole(weights, inputs, labels)
        factor = DualKernel(gradients.inner_products(rows, rows)).factorize(ridge)
        return cls(weights, rows, torch.cholesky_inverse(factor).float())

    def attribute(self, gradients: GradientRows, inputs: Inputs, targets: Tensor) -> Tensor:
        """As in `LiveCheckpoint`."""
        rows = gradients.whole(self.weights, inputs, targets)
        return gradients.inner_products(rows, self.train_rows) @ self.inverse


@dataclass(frozen=True)
class FeatureCheckpoint:
    """A checkpoint with its stored features.

    Attributes:
        weights: of the model.
        projection: the map that made the stored features.
        operator: G `[proj_dim, n_train]`, float32.
    """

    weights: StateDict
    projection: SketchMap
    operator: Tensor

    @classmethod
    def of(cls, weights: StateDict, projection: SketchMap, phi: Tensor, ridge: float) -> "FeatureCheckpoint":
        """The checkpoint with these weights and stored features `[n_train, proj_dim]`; `ridge` is relative."""
        exact = phi.double()  # the solve loses digits, its result does not need them
        factor = PrimalKernel.of([exact]).factorize(ridge)
        return cls(weights, projection, torch.cholesky_solve(exact.T, factor).float())

    def attribute(self, gradients: GradientRows, inputs: Inputs, targets: Tensor) -> Tensor:
        """As in `LiveCheckpoint`."""
        phi, _, _ = gradients.projected(self.weights, inputs, targets, self.projection)
        return phi @ self.operator


def feature_map(gradients: GradientRows, proj_dim: int, seed: int, checkpoint_id: int) -> SketchMap:
    """The projection with which a build of that seed made the features of a checkpoint."""
    return SketchMap(gradients.layers, SjltProjection(proj_dim, derive_seed(seed, "projection", checkpoint_id)))


def exact_bytes(n_train: int, width: int) -> int:
    """Memory of an exact checkpoint, with packed rows of that width."""
    return BYTES * (n_train**2 + n_train * width)


def feature_bytes(n_train: int, proj_dim: int) -> int:
    """Memory of a checkpoint with its features."""
    return BYTES * n_train * proj_dim
