"""Gradients for any model: `vmap(grad(f))` where `torch.func.vmap` can trace it, else one example at a time.

A model that looks at its inputs, as attention asks whether a mask hides anything, goes another way for each answer.
`vmap` follows one way alone, so examples that give different answers are computed apart.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.overrides import TorchFunctionMode

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

    Examples that the model treats in different ways, by the truth of a value, go in a batch for each way.

    Of the weights (parameters and buffers by name) those of `layers` are differentiated and no others; `targets`
    `[n, ...]` is what is asked about each example.
    """
    selected, others = _split(weights, layers)

    def one_output(chosen: StateDict, one_input: Inputs, one_target: Tensor) -> tuple[Tensor, Tensor]:
        batch = apply(lambda leaf: leaf[None], one_input)
        outputs = run_model(model, {**others, **chosen}, batch, task.outputs_of)
        return task.model_output(outputs, one_target[None])[0], outputs[0]

    try:
        with _Answers():
            gradients, outputs = mapped(grad(one_output, has_aux=True), (None, 0, 0), selected, inputs, targets)
    except _PartedError as error:
        ways = [error.answers.nonzero()[:, 0], (~error.answers).nonzero()[:, 0]]
        parts = [vmap_gradients(model, weights, layers, task, take(inputs, way), targets[way]) for way in ways]
        back = torch.cat(ways).argsort()
        joined = [torch.cat([part[at].values for _, part in parts])[back] for at in range(len(layers))]
        found = [ExplicitGradients(layer, values) for layer, values in zip(layers, joined, strict=True)]
        return torch.cat([outputs for outputs, _ in parts])[back], found
    return outputs, [ExplicitGradients(layer, layer.flatten(gradients)) for layer in layers]


class _PartedError(Exception):
    """A value is true for some examples and not for others; `answers` says for which, bool `[n]`."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__("examples go different ways")
        self.answers = answers


class _Answers(TorchFunctionMode):
    """Answers the question whether a value is true where it is so for all examples, or for none."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__bool__ and (values := _of_examples(args[0])) is not None:
            answers = values.detach() != 0
            if bool(answers.any()) != bool(answers.all()):
                raise _PartedError(answers)
            return bool(answers[0])
        return func(*args, **(kwargs or {}))


def _of_examples(value: Tensor) -> Tensor | None:
    """What a number is for each example under `vmap`, `[n]`; None for one that is the same for all."""
    functorch: Any = torch._C._functorch
    found = None
    while functorch.is_functorch_wrapped_tensor(value):
        if functorch.is_batchedtensor(value):
            found = functorch.get_unwrapped(value)
        value = functorch.get_unwrapped(value)
    return found.reshape(-1) if found is not None and not functorch.is_functorch_wrapped_tensor(found) else None


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
