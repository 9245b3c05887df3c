"""Whole gradients as short rows: what the exact kernel stores, and the inner products of such rows.

The gradient of a Linear layer for one example is an outer product `delta (a, 1)^T`, and the inner product of two of
them is `(delta . delta') ((a, 1) . (a', 1))`. Keeping delta and (a, 1) instead of the product makes rows shorter (5,452
numbers instead of 38,282 for the digits network with two convolutions) and inner products cheaper, and loses nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.errors import InvalidModelError
from trak_core.gradients.layer_gradients import ExplicitGradients, LayerGradients, OuterProducts, form
from trak_core.gradients.layers import Layer


@dataclass(frozen=True)
class PackedRows:
    """How gradients lie in packed rows."""

    layers: tuple[Layer, ...]  # all layers, in order
    factored: frozenset[str]  # names of the layers that are kept as factors; the others are kept whole

    @property
    def width(self) -> int:
        """Length of a row."""
        return sum(self._width(layer) for layer in self.layers)

    def pack(self, gradients: Sequence[LayerGradients]) -> Tensor:
        """Rows `[n, width]` of the gradients of n examples."""
        parts = []
        for each in gradients:
            if each.layer.name not in self.factored:
                parts.append(each.values if isinstance(each, ExplicitGradients) else form(each).T)
            elif isinstance(each, OuterProducts) and each.is_single:
                parts += [each.deltas[:, 0, 0], each.activations()[:, 0, 0]]
            else:
                raise InvalidModelError(
                    f"layer {each.layer.name!r} ran once for each example at first and now runs otherwise; use "
                    "gradients='functional'."
                )
        return torch.cat(parts, dim=1)

    def unpack(self, rows: Tensor) -> list[LayerGradients]:
        """Gradients of the examples of packed rows `[n, width]`."""
        gradients: list[LayerGradients] = []
        for layer, part in zip(self.layers, self._parts(rows), strict=True):
            if layer.name in self.factored:
                deltas, inputs = part[:, : layer.n_rows], part[:, layer.n_rows : part.shape[1] - layer.has_bias]
                give = inputs[:, None, None].contiguous
                gradients.append(OuterProducts(layer, deltas[:, None, None], give, True))
            else:
                gradients.append(ExplicitGradients(layer, part))
        return gradients

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products `[n_left, n_right]` of the gradients that packed rows stand for."""
        total = left.new_zeros(len(left), len(right))
        for layer, one, other in zip(self.layers, self._parts(left), self._parts(right), strict=True):
            if layer.name in self.factored:
                at = layer.n_rows
                total.addcmul_(one[:, :at] @ other[:, :at].T, one[:, at:] @ other[:, at:].T)
            else:
                total.addmm_(one, other.T)
        return total

    def squared_norms(self, rows: Tensor) -> Tensor:
        """Squared norms `[n]` of the gradients that packed rows stand for."""
        total = rows.new_zeros(len(rows))
        for layer, part in zip(self.layers, self._parts(rows), strict=True):
            if layer.name in self.factored:
                total.addcmul_((part[:, : layer.n_rows] ** 2).sum(1), (part[:, layer.n_rows :] ** 2).sum(1))
            else:
                total += (part**2).sum(1)
        return total

    def _parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        return torch.split(rows, [self._width(layer) for layer in self.layers], dim=1)

    def _width(self, layer: Layer) -> int:
        return layer.n_rows + layer.n_columns if layer.name in self.factored else layer.size
