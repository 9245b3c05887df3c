"""What the model sees just before its last layer: the basis of embedding similarity."""

import torch
from torch import Tensor, nn

from trak_core.errors import InvalidSettingError
from trak_core.gradients.forward import run_model

__all__ = ["representations"]

BATCH = 2048
"""Inputs that go through the model at once."""


def representations(model: nn.Module, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Inputs of the last Linear layer `[n, n_features]`, detached.

    Raises:
        InvalidSettingError: the model has no Linear layer.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InvalidSettingError("the model has no Linear layer to take representations from.")
    caught: list[Tensor] = []
    seen: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    try:
        with torch.no_grad():
            for batch in torch.split(inputs, BATCH):
                run_model(model, parameters, batch)
                seen.append(caught[-1].flatten(1))
                caught.clear()
    finally:
        handle.remove()
    return torch.cat(seen)
