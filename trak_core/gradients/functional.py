"""Gradients for any model: `vmap(grad(f))` where `torch.func.vmap` can trace it, else one example at a time."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from trak_core.gradients.forward import Inputs, StateDict, run_model, take
from trak_core.gradients.layer_gradients import ExplicitGradients
from trak_core.gradients.layers import Layer
from trak_core.tasks import Task

__all__ = ["loop_gradients", "vmap_gradients"]

Computed = tuple[Tensor, list[ExplicitGradients]]


def vmap_gradients(
    model: nn.Module, weights: StateDict, layers: list[Layer], task: Task, inputs: Inputs, asked: Tensor
) -> Computed:
    """Outputs of the model `[n, ...]` and gradients of the model output, all examples at once.

    Args:
        model: supplies the forward pass.
        weights: parameters and buffers by name.
        layers: what to differentiate with respect to; nothing else is.
        task: supplies the model output f.
        inputs: the batch.
        asked: `[n, ...]`, what is asked of each example.
    """
    selected, others = _split(weights, layers)

    def one_output(chosen: StateDict, one_input: Inputs, one_asked: Tensor) -> tuple[Tensor, Tensor]:
        outputs = run_model(model, {**others, **chosen}, _as_batch(one_input), task.outputs_of)
        return task.model_output(outputs, one_asked[None])[0], outputs[0]

    per_example = vmap(grad(one_output, has_aux=True), in_dims=(None, 0, 0))
    with warnings.catch_warnings():
        # Said of attention, which torch then computes one example at a time: slower, but right.
        warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")
        gradients, outputs = per_example(selected, inputs, asked)
    return outputs, [_explicit(layer, gradients, len(asked)) for layer in layers]


def loop_gradients(
    model: nn.Module, weights: StateDict, layers: list[Layer], task: Task, inputs: Inputs, asked: Tensor
) -> Computed:
    """The same by one forward and one backward pass for each example: slow, and right for every model."""
    selected, others = _split(weights, layers)
    leaves = {name: value.detach().requires_grad_() for name, value in selected.items()}
    rows: list[StateDict] = []
    seen: list[Tensor] = []
    for i in range(len(asked)):
        one = slice(i, i + 1)
        outputs = run_model(model, {**others, **leaves}, take(inputs, one), task.outputs_of)
        output = task.model_output(outputs, asked[one])[0]
        given: Sequence[Tensor | None] = [None] * len(leaves)
        if output.requires_grad:
            given = torch.autograd.grad(output, list(leaves.values()), allow_unused=True)
        rows.append(
            {
                name: torch.zeros_like(leaf) if gradient is None else gradient.to_dense()
                for (name, leaf), gradient in zip(leaves.items(), given, strict=True)
            }
        )
        seen.append(outputs.detach())
    gradients = {name: torch.stack([row[name] for row in rows]) for name in leaves}
    return torch.cat(seen), [_explicit(layer, gradients, len(asked)) for layer in layers]


def _split(weights: StateDict, layers: list[Layer]) -> tuple[StateDict, StateDict]:
    """Weights that are differentiated, and the others."""
    names = [name for layer in layers for name in layer.parameters]
    others = {name: value for name, value in weights.items() if name not in names}
    return {name: weights[name] for name in names}, others


def _as_batch(one_input: Inputs) -> Inputs:
    return torch.utils._pytree.tree_map(lambda leaf: leaf[None], one_input)  # type: ignore[no-any-return]


def _explicit(layer: Layer, gradients: StateDict, n: int) -> ExplicitGradients:
    parts = [gradients[name] for name in layer.parameters]
    if layer.kind == "matrix":
        parts = [part.reshape(n, layer.n_rows, -1) for part in parts]
        return ExplicitGradients(layer, torch.cat(parts, dim=2).reshape(n, -1))
    return ExplicitGradients(layer, torch.cat([part.reshape(n, -1) for part in parts], dim=1))
