"""Gradients for any model: `vmap(grad(f))` where `torch.func.vmap` can trace it, else one example at a time."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from trak_core.gradients.forward import StateDict, dtype_of, read_outputs, run_model, with_weights
from trak_core.gradients.layer_gradients import ExplicitGradients
from trak_core.gradients.layers import Layer
from trak_core.inputs import apply, take
from trak_core.tasks import Inputs, Task

Computed = tuple[Tensor, list[ExplicitGradients]]


def vmap_gradients(
    model: nn.Module, weights: StateDict, layers: list[Layer], task: Task, inputs: Inputs, targets: Tensor
) -> Computed:
    """Outputs of the model `[n, ...]` and gradients of the task's model output, all examples at once.

    Of the weights (parameters and buffers by name) those of `layers` are differentiated and no others; `targets`
    `[n, ...]` is what is asked about each example.
    """
    selected, others = _split(weights, layers)

    def one_output(chosen: StateDict, one_input: Inputs, one_target: Tensor) -> tuple[Tensor, Tensor]:
        batch = apply(lambda leaf: leaf[None], one_input)
        outputs = run_model(model, {**others, **chosen}, batch, task.outputs_of)
        return task.model_output(outputs, one_target[None])[0], outputs[0]

    gradients, outputs = mapped(grad(one_output, has_aux=True), (None, 0, 0), selected, inputs, targets)
    return outputs, [ExplicitGradients(layer, layer.flatten(gradients)) for layer in layers]


def mapped(function: Callable[..., Any], in_dims: tuple[int | None, ...], *args: Any) -> Any:
    """What `torch.func.vmap` of a function gives."""
    with warnings.catch_warnings():
        # Said of attention, which torch then computes one example at a time: slower, but right.
        warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")
        return vmap(function, in_dims)(*args)


def loop_gradients(
    model: nn.Module, weights: StateDict, layers: list[Layer], task: Task, inputs: Inputs, targets: Tensor
) -> Computed:
    """The same by one forward and one backward pass for each example: slow, and right for every model."""
    selected, others = _split(weights, layers)
    leaves = {name: value.detach().requires_grad_() for name, value in selected.items()}
    dtype = dtype_of(weights)

    def one_by_one() -> tuple[list[Tensor], list[StateDict]]:
        seen: list[Tensor] = []
        rows: list[StateDict] = []
        for i in range(len(targets)):
            one = slice(i, i + 1)
            outputs = read_outputs(model, take(inputs, one), task.outputs_of, dtype)
            output = task.model_output(outputs, targets[one])[0]
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
        return seen, rows

    seen, rows = with_weights(model, {**others, **leaves}, one_by_one)
    gradients = {name: torch.stack([row[name] for row in rows]) for name in leaves}
    return torch.cat(seen), [ExplicitGradients(layer, layer.flatten(gradients)) for layer in layers]


def _split(weights: StateDict, layers: list[Layer]) -> tuple[StateDict, StateDict]:
    """Weights that are differentiated, and the others."""
    names = [name for layer in layers for name in layer.parameters]
    others = {name: value for name, value in weights.items() if name not in names}
    return {name: weights[name] for name in names}, others
