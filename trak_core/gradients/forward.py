"""Runs a model on a batch with given weights, whatever shape its inputs and outputs come in."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_map

from trak_core.errors import InvalidDataError, NoLogitsError

__all__ = ["Inputs", "StateDict", "count", "run_model", "take", "to_device"]

StateDict = dict[str, Tensor]
Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""A batch as the model takes it: a tensor, positional arguments or keyword arguments, each `[n, ...]`."""


def run_model(model: nn.Module, weights: StateDict, inputs: Inputs) -> Tensor:
    """What the model returns for a batch, with `weights` (parameters and buffers by name) in place of its own.

    Takes the tensor itself, or `logits` of what is returned, as Hugging Face models have it; in the type of the
    weights, also where the model runs in half precision.

    Raises:
        NoLogitsError: the model returns neither.
    """
    # A state dict has a shared tensor once for each of its names; the first name stands for all.
    names = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    weights = {name: value for name, value in weights.items() if name in names}
    if isinstance(inputs, dict):
        returned = functional_call(model, weights, (), inputs)
    else:
        returned = functional_call(model, weights, inputs if isinstance(inputs, tuple) else (inputs,))
    outputs: Any = returned
    if not isinstance(outputs, Tensor):
        outputs = returned.get("logits") if isinstance(returned, dict) else getattr(returned, "logits", None)
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        kind = type(returned).__name__ + (f" of {returned.dtype}" if isinstance(returned, Tensor) else "")
        raise NoLogitsError(
            f"the model returns a {kind}, which has no logits. It must return a floating-point tensor [n, ...] or an "
            "object with `logits`; wrap it in a small nn.Module that returns its logits."
        )
    return outputs.to(next(value.dtype for value in weights.values() if value.is_floating_point()))


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
