"""Gradients by hooks: one batched forward and backward pass, no `vmap`, no per-example backward.

Forward hooks keep what each layer multiplies its weights with; one backward pass of the summed model output gives the
gradient at each layer's output, a row of it for each example, because no example sees another. Both together are the
gradient with respect to the layer's parameters, as outer products that nobody has to form.

Weights take no part in the backward pass: the graph begins at the output of the first selected layer, so that what
lies before it, and every gradient of an unselected layer, is never computed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._pytree import tree_flatten

from trak_core.errors import TrakCoreError
from trak_core.gradients.forward import Inputs, StateDict, count, run_model
from trak_core.gradients.layer_gradients import (
    ExplicitGradients,
    LayerGradients,
    OuterProducts,
    TableRows,
    convolve_with,
    unfold_patches,
)
from trak_core.gradients.layers import Layer
from trak_core.tasks import Task

__all__ = ["Folding", "UnhookableError", "hooked_gradients", "why_unhookable"]


class UnhookableError(TrakCoreError, ValueError):
    """A layer is used in a way that hooks cannot follow; other ways to compute gradients can."""


Folding = dict[str, float]
"""For each layer, how many of its rows belong to one example, for each position of the model's input; 0 for a layer
with one row an example. Learnt on the probed examples, it must hold for every later batch: a layer that runs on some
rows only, picked by the data, would otherwise give its rows to the wrong examples."""


_CHANNELS_FIRST = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm)
_NORMS = (nn.LayerNorm, nn.RMSNorm, *_CHANNELS_FIRST)
_HOOKABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding, *_NORMS)


def why_unhookable(model: nn.Module, layers: list[Layer]) -> str:
    """The reason why hooks cannot give the gradients of these layers; empty when nothing speaks against it."""
    for layer in layers:
        module = model.get_submodule(layer.name)
        what = f"{layer.name or 'the model itself'} ({type(module).__name__})"
        if not isinstance(module, _HOOKABLE) or not set(layer.leaves) <= {"weight", "bias"}:
            return f"{what} owns parameters of another kind than Linear, Conv1d, Conv2d, Embedding and norm layers"
        if isinstance(module, nn.Embedding) and (module.max_norm is not None or module.scale_grad_by_freq):
            return f"{what} renormalises its rows while it runs, or scales their gradients by their frequency"
    owners: dict[int, list[str]] = {}
    selected = {name for layer in layers for name in layer.parameters}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for names in owners.values():
        if len(names) > 1 and selected & set(names):
            return f"{' and '.join(names)} are one shared parameter"
    return ""


@dataclass
class _Call:
    """One run of a layer: its input, the version of that input's content, and where its output lies in the graph."""

    inputs: Tensor
    version: int
    edge: GradientEdge


@dataclass
class _Recording:
    """What the hooks saw of one forward pass."""

    n: int
    start: Tensor
    calls: dict[str, list[_Call]] = field(default_factory=dict)


def hooked_gradients(
    model: nn.Module,
    weights: StateDict,
    layers: list[Layer],
    task: Task,
    inputs: Inputs,
    asked: Tensor,
    folding: Folding | None = None,
) -> tuple[Tensor, list[LayerGradients]]:
    """Outputs of the model `[n, ...]` and gradients of the model output with respect to each layer.

    Arguments are those of `vmap_gradients`, and `folding`, which is filled where it lacks a layer.

    Raises:
        UnhookableError: a layer runs on inputs without a row for each example, or they are changed in place.
    """
    device = next(iter(weights.values())).device
    recording = _Recording(count(inputs), torch.zeros((), device=device, requires_grad=True))
    frozen = {name: value.detach() for name, value in weights.items()}
    rows = _Rows(recording.n, _positions(inputs), {} if folding is None else folding)
    with torch.enable_grad(), _hooks(model, layers, recording):
        outputs = run_model(model, frozen, inputs, task.outputs_of)
        total = task.model_output(outputs, asked).sum()
    used = [layer for layer in layers if layer.name in recording.calls]
    if not total.requires_grad:
        used = []  # no selected layer has a part in the output
    edges = [call.edge for layer in used for call in recording.calls[layer.name]]
    given = iter(torch.autograd.grad(total, edges, allow_unused=True) if edges else ())
    gradients: list[LayerGradients] = []
    for layer in layers:
        calls = recording.calls.get(layer.name, []) if layer in used else []
        deltas = [next(given) for _ in calls]
        reached = [(call, delta) for call, delta in zip(calls, deltas, strict=True) if delta is not None]
        if any(call.inputs._version != call.version for call, _ in reached):
            raise UnhookableError(f"the input of layer {layer.name!r} is changed in place after the layer has run")
        if not reached:
            # A layer with no part in the output has a gradient of zero, as in any other way to compute it.
            zeros = frozen[layer.parameters[0]].new_zeros(recording.n, layer.size)
            gradients.append(ExplicitGradients(layer, zeros))
            continue
        gradients.append(_of_layer(model.get_submodule(layer.name), layer, reached, rows, frozen))
    return outputs.detach(), gradients


@contextmanager
def _hooks(model: nn.Module, layers: list[Layer], recording: _Recording) -> Iterator[None]:
    handles = [model.get_submodule(layer.name).register_forward_hook(_recorder(layer, recording)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _recorder(layer: Layer, recording: _Recording) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    def record(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        if not args:
            raise UnhookableError(f"layer {layer.name!r} takes its input by keyword")
        if len(output) == 1 and recording.n > 1:
            # One row for all examples, as position embeddings have it: a row each, so that each has a gradient.
            output = output.expand(recording.n, *output.shape[1:])
        if not output.requires_grad:
            output = output + recording.start.to(output.dtype)  # the graph begins here
        seen = args[0].detach()
        call = _Call(seen, seen._version, get_gradient_edge(output))
        recording.calls.setdefault(layer.name, []).append(call)
        return output

    return record


def _of_layer(
    module: nn.Module, layer: Layer, calls: list[tuple[_Call, Tensor]], rows: "_Rows", weights: StateDict
) -> LayerGradients:
    dtype = weights[layer.parameters[0]].dtype  # mixed precision ends here
    pairs = [
        (rows.by_example(call.inputs, module, layer), rows.by_example(delta.detach().to(dtype), module, layer))
        for call, delta in calls
    ]
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return _convolution(module, layer, pairs)
    if isinstance(module, nn.Linear):
        return _linear(layer, pairs)
    if isinstance(module, nn.Embedding):
        return _embedding(module, layer, pairs)
    return _norm(module, layer, pairs, weights)


def _positions(inputs: Inputs) -> int:
    """Length of the second dimension of the model's first input, such as the number of tokens."""
    first = tree_flatten(inputs)[0][0]
    return int(first.shape[1]) if first.dim() > 1 else 1


@dataclass(frozen=True)
class _Rows:
    """Which rows of a layer belong to which example of a batch."""

    n: int
    positions: int
    folding: Folding

    def by_example(self, values: Tensor, module: nn.Module, layer: Layer) -> Tensor:
        """The values with one row for each example; a batch folded into positions is unfolded again."""
        n, length = self.n, len(values)
        if n > 1:
            fold = 0.0 if length in (1, n) else length / n / max(1, self.positions)
            if self.folding.setdefault(layer.name, fold) != fold:
                raise UnhookableError(f"layer {layer.name!r} runs on {length} rows for {n} examples, and not always so")
        if length == n:
            return values
        if length == 1:
            return values.expand(n, *values.shape[1:])
        if length % n or isinstance(module, (nn.Conv1d, nn.Conv2d, *_CHANNELS_FIRST)):
            raise UnhookableError(f"layer {layer.name!r} runs on {length} rows for {n} examples")
        return values.reshape(n, length // n, *values.shape[1:])


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    """The parts of several calls in one; a single call, the usual case, is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=dim)


def _linear(layer: Layer, pairs: list[tuple[Tensor, Tensor]]) -> OuterProducts:
    n = len(pairs[0][1])
    deltas = _joined([delta.reshape(n, 1, -1, delta.shape[-1]) for _, delta in pairs], dim=2)
    inputs = [seen for seen, _ in pairs]

    def make_inputs() -> Tensor:
        rows = _joined([seen.reshape(n, 1, -1, seen.shape[-1]) for seen in inputs], dim=2)
        return rows.to(deltas.dtype)

    is_single = len(pairs) == 1 and pairs[0][1].dim() == 2
    return OuterProducts(layer, deltas, make_inputs, is_single)


def _convolution(
    module: nn.Conv1d | nn.Conv2d, layer: Layer, pairs: list[tuple[Tensor, Tensor]]
) -> OuterProducts | ExplicitGradients:
    n = len(pairs[0][1])
    deltas = _joined(
        [delta.reshape(n, module.groups, delta.shape[1] // module.groups, -1).transpose(2, 3) for _, delta in pairs],
        dim=2,
    )
    inputs = [seen.to(deltas.dtype) for seen, _ in pairs]

    def make_inputs() -> Tensor:
        patches = [unfold_patches(module, seen) for seen in inputs]
        return _joined(patches, dim=2)

    def project(matrix: Tensor) -> Tensor:
        return _joined([convolve_with(module, seen, matrix, layer.has_bias) for seen in inputs], dim=2)

    return OuterProducts(
        layer, deltas, make_inputs, False, project if module.groups == 1 and layer.has_weight else None
    )


def _embedding(module: nn.Embedding, layer: Layer, pairs: list[tuple[Tensor, Tensor]]) -> TableRows:
    n = len(pairs[0][1])
    indices = _joined([seen.reshape(n, -1) for seen, _ in pairs], dim=1)
    deltas = _joined([delta.reshape(n, -1, delta.shape[-1]) for _, delta in pairs], dim=1)
    if module.padding_idx is not None:
        deltas = deltas * (indices != module.padding_idx)[..., None]
    return TableRows(layer, indices, deltas)


def _norm(module: nn.Module, layer: Layer, pairs: list[tuple[Tensor, Tensor]], weights: StateDict) -> ExplicitGradients:
    n = len(pairs[0][1])
    width = layer.n_rows // len(layer.leaves)
    of_calls = []
    for seen, delta in pairs:
        normalized = _normalized(module, layer, seen.to(delta.dtype), weights)
        if isinstance(module, _CHANNELS_FIRST):
            normalized, delta = normalized.movedim(1, -1), delta.movedim(1, -1)
        parts = {"weight": delta * normalized, "bias": delta}
        of_calls.append(torch.cat([parts[leaf].reshape(n, -1, width).sum(1) for leaf in layer.leaves], dim=1))
    return ExplicitGradients(layer, torch.stack(of_calls).sum(0))


def _normalized(module: nn.Module, layer: Layer, inputs: Tensor, weights: StateDict) -> Tensor:
    """The input of a norm layer as it is before weight and bias."""
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(inputs, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.RMSNorm):
        return F.rms_norm(inputs, module.normalized_shape, eps=module.eps)
    if isinstance(module, nn.GroupNorm):
        return F.group_norm(inputs, module.num_groups, eps=module.eps)
    # BatchNorm in evaluation: its statistics are buffers, so they come with the checkpoint.
    prefix = f"{layer.name}." if layer.name else ""
    mean, variance = weights.get(f"{prefix}running_mean"), weights.get(f"{prefix}running_var")
    if mean is None or variance is None:
        raise UnhookableError(f"layer {layer.name!r} keeps no statistics and normalises over the batch")
    return F.batch_norm(inputs, mean.to(inputs.dtype), variance.to(inputs.dtype), eps=module.eps)  # type: ignore[arg-type]
