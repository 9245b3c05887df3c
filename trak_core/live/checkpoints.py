"""One checkpoint ready for new inputs: what does not depend on them is prepared, so that an input costs small products.

In two ways, both the attribution of `trak_core.methods.kernels`:

- from whole gradients of the train examples, as stored TRAK scores are made: k(z) (K + l I)^-1. Memory grows with
  `n_train` squared.
- from the stored features phi (projected gradients): phi(z) G, G = (Phi^T Phi + l I)^-1 Phi^T `[proj_dim, n_train]`. It
  takes runs of any size, and pays with the noise of the projection.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.gradients import Inputs, StateDict
from trak_core.methods import CheckpointKernel, GradientRows, SolvedKernel
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed

BYTES = 4
"""Of a float32."""


@dataclass(frozen=True)
class LiveCheckpoint:
    """One checkpoint, ready to score new inputs."""

    weights: StateDict  # of the model
    kernel: SolvedKernel  # over the train examples, with its ridge

    def attribute(self, gradients: GradientRows, inputs: Inputs, targets: Tensor) -> Tensor:
        """Attributions `[m, n_train]` float32 of m inputs and what is asked about them `[m, ...]`."""
        rows = gradients.blocks(self.weights, inputs, targets, self.kernel.feature_map)
        return self.kernel.attribute(torch.cat(list(rows)))


def exact_kernel(gradients: GradientRows, weights: StateDict, inputs: Inputs, labels: Tensor) -> CheckpointKernel:
    """The kernel of whole gradients of train inputs and labels at some weights."""
    return CheckpointKernel([gradients.whole(weights, inputs, labels)], gradients.whole_map, dual=True)


def feature_kernel(projection: SketchMap, phi: Tensor) -> CheckpointKernel:
    """The kernel of stored features `[n_train, proj_dim]`, which a projection made."""
    # In float64: the solve loses digits, its result does not need them.
    return CheckpointKernel([phi.double()], projection, dual=False)


def feature_map(gradients: GradientRows, proj_dim: int, seed: int, checkpoint_id: int) -> SketchMap:
    """The projection with which a build of that seed made the features of a checkpoint."""
    return SketchMap(gradients.layers, SjltProjection(proj_dim, derive_seed(seed, "projection", checkpoint_id)))


def exact_bytes(n_train: int, width: int) -> int:
    """Memory of a checkpoint with whole gradients, in packed rows of that width."""
    return BYTES * (n_train**2 + n_train * width)


def feature_bytes(n_train: int, proj_dim: int) -> int:
    """Memory of a checkpoint with its features."""
    return BYTES * n_train * proj_dim
