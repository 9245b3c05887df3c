"""Runs a model on a batch with given weights, whatever shape its inputs and outputs come in."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_map

from trak_core.errors import InvalidDataError, NoLogitsError

__all__ = [
    "Inputs",
    "OutputsOf",
    "StateDict",
    "call",
    "count",
    "dtype_of",
    "outputs_of",
    "read_outputs",
    "run_model",
    "take",
    "to_device",
    "with_weights",
]

StateDict = dict[str, Tensor]
Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""A batch as the model takes it: a tensor, positional arguments or keyword arguments, each `[n, ...]`."""
OutputsOf = Callable[[Callable[..., Any], Inputs], Tensor]
"""Reads the outputs `[n, ...]` of a model for a batch; the model takes and returns what its forward does."""
Result = TypeVar("Result")


def call(model: Callable[..., Any], inputs: Inputs) -> Any:
    """Whatever a model returns for a batch: a dict goes in by keyword, a tuple by position."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def outputs_of(model: Callable[..., Any], inputs: Inputs) -> Tensor:
    """The outputs of a model where the task does not say how to read them: the tensor itself, or `logits`.

    Args:
        model: takes and returns what the module's forward does.
        inputs: the batch.

    Raises:
        NoLogitsError: the model returns neither.
    """
    returned = call(model, inputs)
    outputs: Any = returned
    if not isinstance(outputs, Tensor):
        outputs = returned.get("logits") if isinstance(returned, dict) else getattr(returned, "logits", None)
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        raise NoLogitsError(
            f"the model returns a {_kind(returned)}, which has no logits. It must return a floating-point tensor "
            "[n, ...] or an object with `logits`; wrap it in a small nn.Module that returns its logits, or read "
            "another output by outputs_function=... of a trak_core.CustomTask."
        )
    return outputs


def read_outputs(model: Callable[..., Any], inputs: Inputs, outputs_of: OutputsOf, dtype: torch.dtype) -> Tensor:
    """The outputs of a model in the given type, also where it runs in half precision.

    Raises:
        NoLogitsError: `outputs_of` gives anything but a floating-point tensor.
    """
    outputs = outputs_of(model, inputs)
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        raise NoLogitsError(
            f"the task reads a {_kind(outputs)} from the model; its outputs_of must give a floating-point tensor "
            "[n, ...], a row for each example."
        )
    return outputs.to(dtype)


def run_model(model: nn.Module, weights: StateDict, inputs: Inputs, outputs_of: OutputsOf = outputs_of) -> Tensor:
    """The outputs of a model for a batch `[n, ...]`, with `weights` in place of its own and in their type.

    Args:
        model: supplies the forward pass.
        weights: parameters and buffers by name.
        inputs: the batch.
        outputs_of: reads the outputs; that of the task.

    Raises:
        NoLogitsError: the model returns nothing that `outputs_of` can read.
    """
    return with_weights(model, weights, lambda: read_outputs(model, inputs, outputs_of, dtype_of(weights)))


def with_weights(model: nn.Module, weights: StateDict, work: Callable[[], Result]) -> Result:
    """What `work` gives while the model holds `weights` (parameters and buffers by name) in place of its own.

    A backward pass belongs into the work too: activation checkpointing runs the model once more in it.
    """
    # A state dict has a shared tensor once for each of its names; the first name stands for all.
    names = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    held = {f"model.{name}": value for name, value in weights.items() if name in names}
    return cast(Result, functional_call(_Holder(model), held, (work,)))


class _Holder(nn.Module):
    """A model with work to do in the place of its forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], Result]) -> Result:
        return work()


def dtype_of(weights: StateDict) -> torch.dtype:
    """The type of the floating-point weights."""
    return next(value.dtype for value in weights.values() if value.is_floating_point())


def count(inputs: Inputs) -> int:
    """Number of examples of a batch.

    Raises:
        InvalidDataError: the parts of the batch differ in length, or one of them is no tensor.
    """
    leaves, _ = tree_flatten(inputs)
    wrong = [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, Tensor)]
    if wrong or not leaves:
        raise InvalidDataError(
            f"a batch holds {', '.join(wrong) or 'nothing'} among its inputs; give tensors [n, ...], a tuple or a dict "
            "of them."
        )
    if any(leaf.dim() == 0 for leaf in leaves):
        raise InvalidDataError("a batch holds a single number among its inputs; give tensors [n, ...], a row each.")
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) > 1:
        raise InvalidDataError(f"the inputs of one batch have lengths {sorted(lengths)}; all must be the same.")
    return int(lengths.pop())


def take(inputs: Inputs, where: slice | Tensor) -> Inputs:
    """Some examples of a batch."""
    return cast(Inputs, tree_map(lambda leaf: leaf[where], inputs))


def to_device(inputs: Inputs, device: torch.device, dtype: torch.dtype) -> Inputs:
    """The batch on a device; floating-point inputs in `dtype`, others as they are."""

    def move(leaf: Tensor) -> Tensor:
        return leaf.to(device, dtype if leaf.is_floating_point() else None)

    return cast(Inputs, tree_map(move, inputs))


def _kind(value: object) -> str:
    return type(value).__name__ + (f" of {value.dtype}" if isinstance(value, Tensor) else "")
