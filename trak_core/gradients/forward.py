"""Runs a model on a batch with given weights, whatever shape its inputs and outputs come in."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trak_core.errors import NoLogitsError
from trak_core.inputs import count, take, to_device
from trak_core.tasks import Inputs, Model, Task, at_weights, read_logits

__all__ = ["Inputs", "StateDict", "count", "prepared", "run_model", "take", "to_device"]

StateDict = dict[str, Tensor]


def run_model(
    model: nn.Module, weights: StateDict, inputs: Inputs, outputs_of: Callable[[Model, Inputs], Tensor] = read_logits
) -> Tensor:
    """The outputs of a model for a batch `[n, ...]` at some weights and in their type, also from half precision.

    Args:
        model: supplies the forward pass.
        weights: parameters and buffers by name, in place of those of the model.
        inputs: the batch.
        outputs_of: reads the outputs; that of the task.

    Raises:
        NoLogitsError: the model returns nothing that `outputs_of` can read.
    """
    outputs: Any = outputs_of(at_weights(model, weights), inputs)
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        kind = type(outputs).__name__ + (f" of {outputs.dtype}" if isinstance(outputs, Tensor) else "")
        raise NoLogitsError(
            f"the task reads a {kind} from the model; its outputs_of must give a floating-point tensor [n, ...], a row "
            "for each example."
        )
    return outputs.to(next(value.dtype for value in weights.values() if value.is_floating_point()))


@torch.no_grad()
def prepared(task: Task, model: nn.Module, weights: StateDict) -> Task:
    """The task made ready for a model at some weights."""
    return task.prepare(at_weights(model, weights))
