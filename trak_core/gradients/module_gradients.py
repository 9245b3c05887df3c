"""The gradient of one module from its runs: what went in, and the gradient of the model output at what came out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vjp

from trak_core.errors import TrakCoreError
from trak_core.gradients.forward import StateDict
from trak_core.gradients.functional import mapped
from trak_core.gradients.layer_gradients import (
    ExplicitGradients,
    LayerGradients,
    OuterProducts,
    TableRows,
    convolve_with,
    unfold_patches,
)
from trak_core.gradients.layers import Layer, is_transposed

CHANNELS_FIRST = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm)
NORMS = (nn.LayerNorm, nn.RMSNorm, *CHANNELS_FIRST)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


class UnhookableError(TrakCoreError, ValueError):
    """A layer is used in a way that hooks cannot follow; other ways to compute gradients can."""


@dataclass(frozen=True)
class ModuleRun:
    """One run of a module."""

    arguments: list[Any]  # positional and then keyword arguments, tensors detached
    keywords: tuple[str, ...]  # names of the latter
    # gradient of the model output at the module's output, in the type of the weights. `[n, ...]`, or `[n * k, ...]`
    # where the module ran on k rows of each example; for a module that ran once for the whole batch `[n, *shape of the
    # output]`.
    delta: Tensor
    is_shared: bool  # True where it ran once for the whole batch
    of_decoder: bool = False  # True where it ran on what the decoder reads, or was met by that

    @property
    def inputs(self) -> Tensor:
        """The first argument, whose rows belong to those of `delta`."""
        first: Tensor = self.arguments[0]
        return first.expand(len(self.delta), *first.shape) if self.is_shared else first

    @property
    def with_rows(self) -> list[int]:
        """Which of the arguments have a row for each of `delta`."""
        if self.is_shared:
            return []
        tensors = [(at, each) for at, each in enumerate(self.arguments) if isinstance(each, Tensor) and each.dim()]
        return [at for at, each in tensors if len(each) == len(self.delta)]


def computes_otherwise(module: nn.Module) -> bool:
    """True for a table or a Linear layer with a forward of its own, which may do more than look up or multiply.

    What it gives `F.embedding` or `F.linear` is then what counts, not what it was given: `GemmaTextScaledWordEmbedding`
    scales the rows, tables of positions make the positions themselves.
    """
    return isinstance(module, nn.Embedding | nn.Linear) and type(module).forward not in (
        nn.Embedding.forward,
        nn.Linear.forward,
    )


def has_formula(module: nn.Module, leaves: Sequence[str]) -> bool:
    """True for a kind of module whose gradient follows from its first input alone."""
    if not set(leaves) <= {"weight", "bias"}:
        return False
    if isinstance(module, nn.Embedding):
        return module.max_norm is None and not module.scale_grad_by_freq
    return isinstance(module, (nn.Linear, *CONVOLUTIONS, *NORMS)) or is_transposed(module)


def module_gradients(
    module: nn.Module, layer: Layer, runs: Sequence[ModuleRun], n: int, weights: StateDict
) -> LayerGradients:
    """Gradients of n examples with respect to the parameters of one module, from its runs in one forward pass.

    The module holds the weights at which gradients are taken; `weights` are those of the whole model, by name.

    Raises:
        UnhookableError: the module's gradient cannot be told from its runs.
    """
    if not has_formula(module, layer.leaves):
        return ExplicitGradients(layer, torch.stack([_by_vmap(module, layer, run, n, weights) for run in runs]).sum(0))
    if isinstance(module, CONVOLUTIONS):
        return _convolution(module, layer, [_with_batch(module, run) for run in runs], n)
    if isinstance(module, nn.Embedding):
        return _embedding(module, layer, runs, n)
    if isinstance(module, NORMS):
        return _norm(module, layer, [_with_batch(module, run) for run in runs], n)
    return _linear(layer, runs, n)


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    """The parts of several runs in one; a single run, the usual case, is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)


def _with_batch(module: nn.Module, run: ModuleRun) -> ModuleRun:
    """The run with one dimension of rows before the channels, where the module asks for that."""
    inputs = run.inputs  # [n, *shape of the input] where the module ran once for the whole batch
    n_dims = len(module.kernel_size) + 2 if isinstance(module, CONVOLUTIONS) else 2
    if not run.is_shared or not isinstance(module, CONVOLUTIONS + CHANNELS_FIRST) or inputs.dim() <= n_dims:
        return run
    return replace(run, arguments=[inputs.flatten(0, 1)], delta=run.delta.flatten(0, 1), is_shared=False)


def _linear(layer: Layer, runs: Sequence[ModuleRun], n: int) -> OuterProducts:
    deltas = _joined([run.delta.reshape(n, 1, -1, run.delta.shape[-1]) for run in runs], dim=2)

    def make_inputs() -> Tensor:
        rows = _joined([run.inputs.reshape(n, 1, -1, run.inputs.shape[-1]) for run in runs], dim=2)
        return rows.to(deltas.dtype)

    is_single = len(runs) == 1 and not runs[0].is_shared and runs[0].delta.dim() == 2 and len(runs[0].delta) == n
    return OuterProducts(layer, deltas, make_inputs, is_single)


def _convolution(
    module: nn.Conv1d | nn.Conv2d, layer: Layer, runs: Sequence[ModuleRun], n: int
) -> OuterProducts | ExplicitGradients:
    groups = module.groups

    def by_example(rows: Tensor) -> Tensor:
        """`[n, groups, k * T, width]` of `[n * k, groups, T, width]`."""
        if len(rows) == n:
            return rows
        return rows.reshape(n, -1, *rows.shape[1:]).transpose(1, 2).flatten(2, 3)

    grouped = [run.delta.reshape(len(run.delta), groups, module.out_channels // groups, -1) for run in runs]
    deltas = _joined([by_example(delta.transpose(2, 3)) for delta in grouped], dim=2)
    inputs = [run.inputs.to(deltas.dtype) for run in runs]

    def make_inputs() -> Tensor:
        return _joined([by_example(unfold_patches(module, seen)) for seen in inputs], dim=2)

    def project(matrix: Tensor) -> Tensor:
        return _joined([by_example(convolve_with(module, seen, matrix, layer.has_bias)) for seen in inputs], dim=2)

    return OuterProducts(layer, deltas, make_inputs, False, project if groups == 1 and layer.has_weight else None)


def _embedding(module: nn.Embedding, layer: Layer, runs: Sequence[ModuleRun], n: int) -> TableRows:
    indices = _joined([run.inputs.reshape(n, -1) for run in runs], dim=1)
    deltas = _joined([run.delta.reshape(n, -1, run.delta.shape[-1]) for run in runs], dim=1)
    if module.padding_idx is not None:
        deltas = deltas * (indices != module.padding_idx)[..., None]
    return TableRows(layer, indices, deltas)


def _norm(module: nn.Module, layer: Layer, runs: Sequence[ModuleRun], n: int) -> ExplicitGradients:
    width = layer.n_rows // len(layer.leaves)
    of_runs = []
    for run in runs:
        delta = run.delta
        standard = normalized(module, layer.name, run.inputs.to(delta.dtype))
        if isinstance(module, CHANNELS_FIRST):
            standard, delta = standard.movedim(1, -1), delta.movedim(1, -1)
        parts = {"weight": delta * standard, "bias": delta}
        of_runs.append(torch.cat([parts[leaf].reshape(n, -1, width).sum(1) for leaf in layer.leaves], dim=1))
    return ExplicitGradients(layer, torch.stack(of_runs).sum(0))


def normalized(module: nn.Module, name: str, inputs: Tensor) -> Tensor:
    """The input of a norm layer as it is before weight and bias."""
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(inputs, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.RMSNorm):
        return F.rms_norm(inputs, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(inputs, module.num_groups, eps=module.eps)
    # BatchNorm in evaluation: its statistics are buffers, so the module holds those of the checkpoint.
    mean, variance = module.running_mean, module.running_var
    if mean is None or variance is None:
        raise UnhookableError(f"layer {name!r} keeps no statistics and normalises over the batch")
    return F.batch_norm(inputs, mean.to(inputs.dtype), variance.to(inputs.dtype), eps=module.eps)  # type: ignore[arg-type]


def _by_vmap(module: nn.Module, layer: Layer, run: ModuleRun, n: int, weights: StateDict) -> Tensor:
    """Gradients `[n, layer.size]` of a module of any kind: it runs once more, alone and for each row."""
    at = run.with_rows
    chosen: StateDict = {leaf: weights[name] for name, leaf in zip(layer.parameters, layer.leaves, strict=True)}

    def gradient(delta: Tensor, *rows: Tensor) -> StateDict:
        arguments = list(run.arguments)
        for place, row in zip(at, rows, strict=True):
            arguments[place] = row[None]
        n_args = len(arguments) - len(run.keywords)
        args, kwargs = tuple(arguments[:n_args]), dict(zip(run.keywords, arguments[n_args:], strict=True))
        output, back = vjp(lambda some: functional_call(module, some, args, kwargs), chosen)[:2]
        delta = delta if run.is_shared else delta[None]
        given: StateDict = back(delta.to(output.dtype))[0]
        return given

    rows = [run.delta, *(run.arguments[place] for place in at)]
    gradients = mapped(gradient, (0,) * len(rows), *rows)
    flat = layer.flatten({name: gradients[leaf] for name, leaf in zip(layer.parameters, layer.leaves, strict=True)})
    return flat.reshape(n, -1, layer.size).sum(1)
