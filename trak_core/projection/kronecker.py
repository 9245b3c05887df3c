"""Kronecker-factored projection of one layer: `L^T G R` (LoGra, Choe et al. 2024, arXiv 2405.13954).

With `G = sum over t of delta_t a_t^T` this is `sum over t of (L^T delta_t) (R^T a_t)^T`: activations and output
gradients are projected before they meet, and the gradient itself is never formed. L and R hold random signs; a side
that is no longer than what it would be projected to is left as it is.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.errors import InvalidSettingError
from trak_core.gradients import (
    ExplicitGradients,
    Layer,
    LayerGradients,
    OuterProducts,
    SummedGradients,
    TableRows,
    n_parameters,
)
from trak_core.projection.rademacher import RademacherProjection


@dataclass(frozen=True)
class KroneckerProjection:
    """The projection of one Linear or Conv layer, or of an Embedding that shares its weight with one."""

    layer: Layer  # the layer
    n_left: int  # length of a projected output gradient
    n_right: int  # length of projected activations
    seed: int  # of the signs of all layers; each layer and side draws its own

    @classmethod
    def fit_into(
        cls, layers: Sequence[Layer], proj_dim: int, seed: int
    ) -> tuple[dict[str, "KroneckerProjection"], int]:
        """Projections of all Linear and Conv layers, as fine as fits, and the length of row that they use.

        All layers get the same rank on both sides, at least one; the other layers keep a share of `proj_dim` that is
        their share of the parameters, as far as that leaves room, and at least one number.

        Raises:
            InvalidSettingError: there is no such layer, or `proj_dim` is smaller than the number of layers.
        """
        matrices = [layer for layer in layers if layer.kind == "matrix"]
        others = n_parameters(layers) - n_parameters(matrices)
        if not matrices:
            raise InvalidSettingError("projection='kronecker' needs Linear or Conv layers; use projection='sjlt'.")
        least = len(matrices) + (1 if others else 0)
        if proj_dim < least:
            raise InvalidSettingError(
                f"proj_dim={proj_dim} is too small for projection='kronecker' with {len(matrices)} Linear and Conv "
                f"layers; give at least {least}, or use projection='sjlt'."
            )
        kept = max(1, proj_dim * others // n_parameters(layers)) if others else 0
        rank = 1
        while _width(matrices, rank + 1) <= proj_dim - kept and _width(matrices, rank + 1) > _width(matrices, rank):
            rank += 1
        projections = {
            layer.name: cls(layer, min(rank, layer.n_rows), min(rank, layer.n_columns), seed) for layer in matrices
        }
        return projections, _width(matrices, rank)

    @property
    def width(self) -> int:
        """Length of a projected gradient."""
        return self.n_left * self.n_right

    def project(self, gradients: LayerGradients) -> Tensor:
        """Projected gradients `[n, n_left * n_right]`."""
        if not isinstance(gradients, SummedGradients):
            return self._project(gradients, slice(None))
        parts = [self._project(part, gradients.columns(part)) for part in gradients.parts]
        return torch.stack(parts).sum(0)

    def back(self, vector: Tensor) -> Tensor:
        """`L V R^T` of a projected vector `[n_left * n_right]`, as the gradient of the layer lies: `[layer.size]`."""
        left = self._side("left", self.layer.n_rows, self.n_left, vector)
        right = self._side("right", self.layer.n_columns, self.n_right, vector)
        return (left @ vector.reshape(self.n_left, self.n_right) @ right.T).flatten()

    def _project(self, gradients: LayerGradients, columns: slice) -> Tensor:
        """The same for gradients of some columns of the layer's matrix."""
        left = self._side("left", self.layer.n_rows, self.n_left, gradients.like)
        right = self._side("right", self.layer.n_columns, self.n_right, gradients.like)[columns]
        if isinstance(gradients, TableRows):
            return torch.einsum("ntl,ntr->nlr", left[gradients.indices], gradients.deltas @ right).flatten(1)
        if isinstance(gradients, OuterProducts):
            deltas = gradients.deltas  # [n, groups, T, rows / groups]
            short = deltas @ left.reshape(1, deltas.shape[1], deltas.shape[3], self.n_left)
            seen = gradients.activations_times(right)
            return torch.einsum("ngtl,ngtr->nlr", short, seen).flatten(1)
        assert isinstance(gradients, ExplicitGradients)  # matrices come in these forms only
        values = gradients.values.reshape(-1, self.layer.n_rows, self.layer.n_columns)
        return (left.T @ values @ right).flatten(1)

    def _side(self, side: str, length: int, short: int, like: Tensor) -> Tensor:
        """The matrix `[length, short]` of one side, in the type of `like`."""
        if short == length:
            return torch.eye(length, dtype=like.dtype, device=like.device)
        # The name is in the seed, so that a layer keeps its signs whatever other layers are selected.
        digest = hashlib.sha256(f"{self.seed} {self.layer.name} {side}".encode()).digest()
        signs = RademacherProjection(short, int.from_bytes(digest[:8], "big") >> 1).signs(0, length, like.device)
        scaled: Tensor = signs.to(like.dtype) * short**-0.5
        return scaled


def _width(layers: Sequence[Layer], rank: int) -> int:
    return sum(min(rank, layer.n_rows) * min(rank, layer.n_columns) for layer in layers)
