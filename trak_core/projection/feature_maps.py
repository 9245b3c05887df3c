"""From gradients to the rows that are stored, and inner products of such rows; one map for each kind of projection.

| kind | rows | cost for each example |
| --- | --- | --- |
| none | whole gradients, Linear layers as factors | none beyond the gradient |
| sjlt | `proj_dim` buckets | reading the gradient once |
| rademacher | `proj_dim` signed sums | `n_parameters * proj_dim` |
| kronecker | `L^T G R` of each Linear and Conv layer, no gradient formed | two narrow products |
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from trak_core.errors import InvalidModelError, InvalidSettingError
from trak_core.gradients import ExplicitGradients, Layer, LayerGradients, OuterProducts, TableRows, form
from trak_core.projection.kronecker import KroneckerProjection
from trak_core.projection.projection import BlockProjection
from trak_core.projection.rademacher import RademacherProjection
from trak_core.projection.sjlt import SjltProjection

ProjectionKind = Literal["none", "sjlt", "rademacher", "kronecker"]
PROJECTIONS: tuple[ProjectionKind, ...] = ("none", "sjlt", "rademacher", "kronecker")
BUFFER_PARAMETERS = 2**16
"""Parameters whose gradients are formed at once, for all examples of a batch."""


class FeatureMap(ABC):
    """Turns gradients of n examples into rows."""

    is_linear = True  # when the inner product of two rows is the plain one, so that kernels may be solved in row space

    @property
    @abstractmethod
    def width(self) -> int:
        """Length of a row."""

    @abstractmethod
    def rows(self, gradients: Sequence[LayerGradients]) -> tuple[Tensor, Tensor]:
        """Rows `[n, width]`, and squared norms `[n]` of the gradients (of the rows, for kind kronecker)."""

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products `[n_left, n_right]` of rows."""
        return left @ right.T

    @abstractmethod
    def direction(self, rows: Tensor, factors: Tensor) -> Tensor:
        """The direction of parameters `[n_parameters]` that a sum of rows stands for, layer after layer.

        A gradient has the same inner product with it as its own row has with the sum: `<g, P v> = <P^T g, v>`.

        Args:
            rows: `[k, width]`.
            factors: of each row in the sum `[k]`.
        """


class WholeMap(FeatureMap):
    """Kind "none": whole gradients, those of the layers named `factored` as factors, which is shorter.

    The gradient of a Linear layer for one example is an outer product `delta (a, 1)^T`, and the inner product of two of
    them is `(delta . delta') ((a, 1) . (a', 1))`. Keeping delta and (a, 1) instead of the product makes rows shorter
    (5,452 numbers instead of 38,282 for the digits network with two convolutions) and inner products cheaper, and loses
    nothing.
    """

    is_linear = False

    def __init__(self, layers: Sequence[Layer], factored: frozenset[str]) -> None:
        self.layers = layers
        self.factored = factored

    @property
    def width(self) -> int:
        """As in `FeatureMap`."""
        return sum(self._width(layer) for layer in self.layers)

    def rows(self, gradients: Sequence[LayerGradients]) -> tuple[Tensor, Tensor]:
        """As in `FeatureMap`."""
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
        rows = torch.cat(parts, dim=1)
        return rows, self.squared_norms(rows)

    def unpack(self, rows: Tensor) -> list[LayerGradients]:
        """Gradients of the examples of rows `[n, width]`."""
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
        """As in `FeatureMap`."""
        total = left.new_zeros(len(left), len(right))
        for layer, one, other in zip(self.layers, self._parts(left), self._parts(right), strict=True):
            if layer.name in self.factored:
                at = layer.n_rows
                total.addcmul_(one[:, :at] @ other[:, :at].T, one[:, at:] @ other[:, at:].T)
            else:
                total.addmm_(one, other.T)
        return total

    def direction(self, rows: Tensor, factors: Tensor) -> Tensor:
        """As in `FeatureMap`."""
        return torch.cat([_summed(each, factors) for each in self.unpack(rows)])

    def squared_norms(self, rows: Tensor) -> Tensor:
        """Squared norms `[n]` of the gradients that rows stand for."""
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


class SketchMap(FeatureMap):
    """Kinds "sjlt" and "rademacher": the gradient is formed block by block and projected at once."""

    def __init__(self, layers: Sequence[Layer], projection: BlockProjection) -> None:
        self.layers = layers
        self.projection = projection
        self._blocks = _blocks(layers)
        self._buffer: Tensor | None = None

    @property
    def width(self) -> int:
        """As in `FeatureMap`."""
        return self.projection.proj_dim

    def rows(self, gradients: Sequence[LayerGradients]) -> tuple[Tensor, Tensor]:
        """As in `FeatureMap`."""
        like = gradients[0].like
        n = len(like)
        projected = like.new_zeros(self.width, n)
        squared = like.new_zeros(n)
        for block in self._blocks:
            pieces = [(gradients[at], start, stop) for at, start, stop in block]
            first, start, _ = pieces[0]
            if isinstance(first, TableRows):
                squared += first.lengths
                self.projection.accumulate_rows(projected, first.indices, first.deltas, first.layer.start)
                continue
            values = self._form(pieces, like, squared)
            self.projection.accumulate(projected, values, first.layer.start + start * first.layer.n_columns)
        return projected.T.contiguous(), squared

    def direction(self, rows: Tensor, factors: Tensor) -> Tensor:
        """As in `FeatureMap`."""
        total = factors @ rows
        found = rows.new_zeros(max((layer.start + layer.size for layer in self.layers), default=0))
        for block in self._blocks:  # as in `rows`, so that what was drawn for these is at hand
            (first, row, _), (last, _, end) = (
                (self.layers[at], start, stop) for at, start, stop in (block[0], block[-1])
            )
            start, stop = first.start + row * first.n_columns, last.start + end * last.n_columns
            found[start:stop] = self.projection.back(total, start, stop)
        return found

    def _form(self, pieces: list[tuple[LayerGradients, int, int]], like: Tensor, squared: Tensor) -> Tensor:
        """The gradients of neighbouring pieces `[n_parameters, n]`, in memory that the next block uses again.

        Adds their squared norms to `squared` `[n]`.
        """
        n, size = len(like), sum((stop - start) * each.layer.n_columns for each, start, stop in pieces)
        buffer = self._buffer
        if buffer is None or buffer.numel() < size * n or buffer.dtype != like.dtype or buffer.device != like.device:
            buffer = self._buffer = like.new_empty(size * n)
        values = buffer[: size * n].view(size, n)
        at = 0
        for each, start, stop in pieces:
            length = (stop - start) * each.layer.n_columns
            formed = values[at : at + length]
            each.write(formed, start, stop)
            squared += each.squared_norms(formed, start, stop)
            at += length
        return values


class KroneckerMap(FeatureMap):
    """Kind "kronecker": each Linear and Conv layer by two small matrices, all other layers together by SJLT.

    Rows are of `proj_dim` numbers at most.
    """

    def __init__(self, layers: Sequence[Layer], proj_dim: int, seed: int) -> None:
        self.n_parameters = max(layer.start + layer.size for layer in layers)
        self.projections, used = KroneckerProjection.fit_into(layers, proj_dim, seed)
        others = [layer for layer in layers if layer.name not in self.projections]
        self.sketch = SketchMap(others, SjltProjection(proj_dim - used, seed)) if others else None

    @property
    def width(self) -> int:
        """As in `FeatureMap`."""
        return sum(each.width for each in self.projections.values()) + (self.sketch.width if self.sketch else 0)

    def rows(self, gradients: Sequence[LayerGradients]) -> tuple[Tensor, Tensor]:
        """As in `FeatureMap`."""
        parts = [
            self.projections[each.layer.name].project(each) for each in gradients if each.layer.name in self.projections
        ]
        if self.sketch is not None:
            others = [each for each in gradients if each.layer.name not in self.projections]
            parts.append(self.sketch.rows(others)[0])
        rows = torch.cat(parts, dim=1)
        return rows, (rows**2).sum(1)

    def direction(self, rows: Tensor, factors: Tensor) -> Tensor:
        """As in `FeatureMap`."""
        total, at = factors @ rows, 0
        found = rows.new_zeros(self.n_parameters)
        for projection in self.projections.values():
            layer = projection.layer
            found[layer.start : layer.start + layer.size] = projection.back(total[at : at + projection.width])
            at += projection.width
        if self.sketch is not None:
            others = self.sketch.direction(total[None, at:], total.new_ones(1))
            found[: len(others)] += others
        return found


def make_feature_map(
    kind: ProjectionKind, layers: Sequence[Layer], factored: frozenset[str], proj_dim: int, seed: int
) -> FeatureMap:
    """The map of a kind; only "none" looks at `factored`, and only the others at `proj_dim` and `seed`.

    Raises:
        InvalidSettingError: there is no such kind, or `proj_dim` cannot work with it.
    """
    if kind not in PROJECTIONS:
        raise InvalidSettingError(f"projection={kind!r}; it must be one of {', '.join(PROJECTIONS)}, or auto.")
    if kind == "none":
        return WholeMap(layers, factored)
    if proj_dim < 1:
        raise InvalidSettingError(f"proj_dim={proj_dim}; it must be at least 1, and 512 to 4096 are usual.")
    if kind == "kronecker":
        return KroneckerMap(layers, proj_dim, seed)
    projection = SjltProjection(proj_dim, seed) if kind == "sjlt" else RademacherProjection(proj_dim, seed)
    return SketchMap(layers, projection)


def _summed(gradients: LayerGradients, factors: Tensor) -> Tensor:
    """The sum of the gradients of all examples, each times a factor, `[layer.size]`."""
    if isinstance(gradients, OuterProducts) and gradients.is_single:
        return ((gradients.deltas[:, 0, 0] * factors[:, None]).T @ gradients.activations()[:, 0, 0]).flatten()
    return form(gradients) @ factors


def _blocks(layers: Sequence[Layer]) -> list[list[tuple[int, int, int]]]:
    """Blocks of neighbouring (layer, first row, last row) of about `BUFFER_PARAMETERS` parameters each.

    Small layers share a block and large ones are split, so that a product has neither too little nor too much to do.
    A table has a block of its own: most of its rows have no gradient at all.
    """
    blocks: list[list[tuple[int, int, int]]] = []
    filled = BUFFER_PARAMETERS
    for at, layer in enumerate(layers):
        if layer.kind == "table":
            blocks.append([(at, 0, layer.n_rows)])
            filled = BUFFER_PARAMETERS
            continue
        adjoins = at > 0 and layers[at - 1].start + layers[at - 1].size == layer.start
        if filled + layer.size <= BUFFER_PARAMETERS and adjoins:
            blocks[-1].append((at, 0, layer.n_rows))
            filled += layer.size
            continue
        step = max(1, BUFFER_PARAMETERS // layer.n_columns)
        blocks += [[(at, start, min(start + step, layer.n_rows))] for start in range(0, layer.n_rows, step)]
        filled = layer.size if layer.n_rows <= step else BUFFER_PARAMETERS
    return blocks
