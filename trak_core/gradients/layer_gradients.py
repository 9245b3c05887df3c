"""Gradients of a batch with respect to one layer, kept in the form in which they come.

A Linear layer gives, for each example, a sum of outer products of output gradients and activations; a Conv layer the
same over positions; an Embedding a few rows of a large table. Forming the gradient is put off until somebody needs
it, and then it is written parameter-major, `[n_parameters, n]`, as sparse projections want it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trak_core.gradients.layers import Layer

Pair = tuple[int, int]


@dataclass(frozen=True)
class LayerGradients(ABC):
    """Gradients of n examples with respect to one layer."""

    layer: Layer  # the layer

    @property
    @abstractmethod
    def like(self) -> Tensor:
        """A tensor `[n, ...]` of the gradients' type and device."""

    @abstractmethod
    def write(self, out: Tensor, start: int, stop: int) -> None:
        """Forms the gradients of matrix rows `start` to `stop` into `out` `[(stop - start) * n_columns, n]`."""

    def squared_norms(self, formed: Tensor, start: int, stop: int) -> Tensor:
        """Squared norms `[n]` of the gradients of matrix rows `start` to `stop`, given as `write` formed them."""
        return (formed * formed).sum(0)


@dataclass(frozen=True)
class ExplicitGradients(LayerGradients):
    """Gradients that are formed already."""

    values: Tensor  # `[n, layer.size]`, rows of the layer's matrix one after another

    def write(self, out: Tensor, start: int, stop: int) -> None:
        """As in `LayerGradients`."""
        columns = self.layer.n_columns
        out.copy_(self.values[:, start * columns : stop * columns].T)

    @property
    def like(self) -> Tensor:
        """As in `LayerGradients`."""
        return self.values


@dataclass(frozen=True)
class OuterProducts(LayerGradients):
    """Gradients of a Linear or Conv layer: `sum over t of delta_t (activation_t, 1)^T`."""

    # gradients of the model output with respect to the layer's outputs `[n, groups, T, n_rows / groups]`
    deltas: Tensor
    # gives what the weights are multiplied with `[n, groups, T, n_columns]`, without the column of ones for the bias. A
    # function, because the patches of a Conv layer are many times its input.
    make_inputs: Callable[[], Tensor]
    is_single: bool  # True when each example has one outer product (T = 1, one group)
    # for a Conv layer of one group, gives the activations times a matrix `[n_columns, r]` without forming patches: `[n,
    # 1, T, r]`; None elsewhere
    project: Callable[[Tensor], Tensor] | None = None

    def write(self, out: Tensor, start: int, stop: int) -> None:
        """As in `LayerGradients`."""
        n, groups, _, per_group = self.deltas.shape
        if groups > 1:
            formed = torch.einsum("ngtr,ngtc->grcn", self.deltas, self.activations())
            out.copy_(formed.reshape(groups * per_group, self.layer.n_columns, n)[start:stop].reshape(-1, n))
            return
        deltas = self.deltas[:, 0, :, start:stop]
        if self.is_single:
            activations = self.activations()[:, 0, 0].T.contiguous()  # [columns, n]
            torch.mul(deltas[:, 0].T.contiguous()[:, None], activations[None], out=out.view(stop - start, -1, n))
            return
        formed = deltas.transpose(1, 2) @ self.activations()[:, 0]  # [n, rows, columns]
        out.copy_(formed.reshape(n, -1).T)

    @property
    def like(self) -> Tensor:
        """As in `LayerGradients`."""
        return self.deltas

    def activations_times(self, matrix: Tensor) -> Tensor:
        """Activations times `matrix` `[n_columns, r]`: `[n, groups, T, r]`."""
        return self.project(matrix) if self.project is not None else self.activations() @ matrix

    def activations(self) -> Tensor:
        """What each delta is multiplied with `[n, groups, T, n_columns]`, a last column of ones for the bias."""
        if not self.layer.has_weight:
            return torch.ones_like(self.deltas[..., :1])
        inputs = self.make_inputs()
        return torch.cat([inputs, torch.ones_like(inputs[..., :1])], dim=-1) if self.layer.has_bias else inputs

    def squared_norms(self, formed: Tensor, start: int, stop: int) -> Tensor:
        """As in `LayerGradients`."""
        if not self.is_single:
            return super().squared_norms(formed, start, stop)
        activations = self.activations()[:, 0, 0]
        return (self.deltas[:, 0, 0, start:stop] ** 2).sum(1) * (activations**2).sum(1)


@dataclass(frozen=True)
class TableRows(LayerGradients):
    """Gradients of an Embedding: the output gradient of each position belongs to the row that it looked up."""

    indices: Tensor  # rows looked up `[n, T]` int64
    deltas: Tensor  # output gradients `[n, T, n_columns]`, zero for the padding row

    def write(self, out: Tensor, start: int, stop: int) -> None:
        """As in `LayerGradients`."""
        self.add(out.zero_(), start, stop)

    def add(self, out: Tensor, start: int, stop: int) -> None:
        """Adds to what `write` would give; few of the rows are looked up, so that most stay as they are."""
        n = len(self.deltas)
        examples, at = torch.nonzero((self.indices >= start) & (self.indices < stop), as_tuple=True)
        rows = out.view(stop - start, -1, n).transpose(1, 2)  # [rows, n, columns]
        rows.index_put_((self.indices[examples, at] - start, examples), self.deltas[examples, at], accumulate=True)

    @property
    def like(self) -> Tensor:
        """As in `LayerGradients`."""
        return self.deltas

    @property
    def lengths(self) -> Tensor:
        """Squared norms `[n]` of the whole gradients, in which deltas of the same row add up."""
        if self.indices.shape[1] ** 2 > self.layer.size:  # a small table, such as that of relative positions
            return (form(self) ** 2).sum(0)
        is_same = self.indices[:, :, None] == self.indices[:, None]
        return (self.deltas @ self.deltas.transpose(1, 2) * is_same).sum((1, 2))


@dataclass(frozen=True)
class SummedGradients(LayerGradients):
    """Gradients of a layer whose parameters are shared: the sum over the modules that use them."""

    # of each module. Those of a module that has another bias, or none, lack the last column.
    parts: tuple[LayerGradients, ...]

    def write(self, out: Tensor, start: int, stop: int) -> None:
        """As in `LayerGradients`."""
        n = out.shape[1]
        tables = [part for part in self.parts if isinstance(part, TableRows)]
        others = [part for part in self.parts if not isinstance(part, TableRows)]
        if others and others[0].layer.n_columns == self.layer.n_columns:
            others.pop(0).write(out, start, stop)
        else:
            out.zero_()
        total = out.view(stop - start, self.layer.n_columns, n)
        for part in others:
            formed = out.new_empty((stop - start) * part.layer.n_columns, n)
            part.write(formed, start, stop)
            total[:, self.columns(part)] += formed.view(stop - start, -1, n)
        for table in tables:
            table.add(out, start, stop)

    def columns(self, part: LayerGradients) -> slice:
        """Which columns of the layer's matrix a part has."""
        first = 0 if part.layer.has_weight else self.layer.n_columns - part.layer.n_columns
        return slice(first, first + part.layer.n_columns)

    @property
    def like(self) -> Tensor:
        """As in `LayerGradients`."""
        return self.parts[0].like


def form(gradients: LayerGradients) -> Tensor:
    """The whole gradient of a layer, formed: `[layer.size, n]`, parameter-major."""
    layer = gradients.layer
    out = gradients.like.new_empty(layer.size, len(gradients.like))
    gradients.write(out, 0, layer.n_rows)
    return out


def unfold_patches(module: nn.Conv2d | nn.Conv1d, inputs: Tensor) -> Tensor:
    """Patches that a Conv layer multiplies with its weights: `[n, groups, T, channels / groups * kernel]`."""
    inputs, kernel, stride, dilation = _padded(module, inputs)
    n = len(inputs)
    patches = F.unfold(inputs, kernel, dilation=dilation, stride=stride)  # [n, channels * kernel, T]
    return patches.reshape(n, module.groups, -1, patches.shape[-1]).transpose(2, 3)


def convolve_with(module: nn.Conv2d | nn.Conv1d, inputs: Tensor, matrix: Tensor, has_bias: bool) -> Tensor:
    """Patches times a matrix `[n_columns, r]` as one convolution: `[n, 1, T, r]`."""
    inputs, kernel, stride, dilation = _padded(module, inputs)
    weight = (matrix[:-1] if has_bias else matrix).T.reshape(-1, inputs.shape[1], *kernel)
    bias = matrix[-1] if has_bias else None
    return F.conv2d(inputs, weight, bias, stride=stride, dilation=dilation).flatten(2).transpose(1, 2)[:, None]


def _padded(module: nn.Conv2d | nn.Conv1d, inputs: Tensor) -> tuple[Tensor, Pair, Pair, Pair]:
    """Inputs `[n, channels, height, width]` with their padding done, and kernel, stride and dilation in 2-D."""
    # What Conv itself pads with; holds for "same", "valid" and every padding mode.
    amounts = list(module._reversed_padding_repeated_twice)
    mode = module.padding_mode
    if any(amounts):
        inputs = F.pad(inputs, amounts, mode="constant" if mode == "zeros" else mode)
    if isinstance(module, nn.Conv1d):
        inputs = inputs[:, :, None]
        return inputs, (1, module.kernel_size[0]), (1, module.stride[0]), (1, module.dilation[0])
    kernel, stride, dilation = ((each[0], each[1]) for each in (module.kernel_size, module.stride, module.dilation))
    return inputs, kernel, stride, dilation
