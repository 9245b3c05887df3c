"""What the model sees just before its last layer: the basis of embedding similarity."""

import torch
from torch import Tensor, nn

from trak_core.errors import InvalidSettingError
from trak_core.gradients.forward import StateDict, with_weights
from trak_core.inputs import count, take
from trak_core.tasks import Inputs, Task, call

BATCH = 2048
"""Inputs that go through the model at once."""


def representations(model: nn.Module, parameters: StateDict, inputs: Inputs, task: Task | None = None) -> Tensor:
    """Inputs of the last Linear layer `[n, n_features]`, detached; where it runs several times, the last.

    Args:
        model: supplies the forward pass.
        parameters: by name, in place of its own.
        inputs: `n` examples.
        task: reads the outputs, where the model returns neither a tensor nor `logits`.

    Raises:
        InvalidSettingError: the model has no Linear layer.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InvalidSettingError("the model has no Linear layer to take representations from.")
    caught: list[Tensor] = []
    seen: list[Tensor] = []

    def run() -> None:
        for start in range(0, count(inputs), BATCH):
            call(model, take(inputs, slice(start, start + BATCH)))
            seen.append(caught[-1].flatten(1))
            caught.clear()

    handle = layers[-1].register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    try:
        with torch.no_grad():
            with_weights(model, parameters, run)
    finally:
        handle.remove()
    return torch.cat(seen)
