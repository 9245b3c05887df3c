"""What people hand to an `Attributor`, brought into the form that it works with."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from trak_core.errors import InvalidModelError, InvalidSettingError
from trak_core.methods import Examples, GradientSettings, MethodContext, MethodInfo
from trak_core.tasks import Task
from trak_core.training.weights import Checkpoints


def find_device(device: str) -> torch.device:
    """The device by name: what "auto" means here, or the one asked for; InvalidSettingError where it is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise InvalidSettingError(f"device={device!r}; it must be auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidSettingError("device='cuda', but torch finds no GPU here; use device='cpu' or 'auto'.")
    return torch.device(device)


@torch.inference_mode(False)
def copied(model: nn.Module) -> nn.Module:
    """A copy of a model; InvalidModelError where it cannot be copied."""
    uninitialized = [name for name, value in model.named_parameters() if isinstance(value, UninitializedParameter)]
    if uninitialized:
        raise InvalidModelError(
            f"parameters {', '.join(uninitialized[:5])} have no shape yet; run the model once on an example first."
        )
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise InvalidModelError(
            f"the model cannot be copied ({type(error).__name__}: {error}); keep what cannot be copied out of it."
        ) from error


def target_tensor(targets: Any) -> Tensor:
    """Targets as a tensor `[n, ...]`, int64 or of floats; InvalidSettingError where they are no numbers."""
    values = targets if isinstance(targets, Tensor) else np.asarray(targets)
    if not isinstance(values, Tensor):
        if values.dtype.kind not in "biuf" or values.ndim == 0:
            raise InvalidSettingError(f"targets={targets!r}; give a list of numbers, one for each test example.")
        values = torch.from_numpy(np.array(values))
    return values if values.is_floating_point() else values.long()


def check_needs(
    info: MethodInfo, task: Task, model: nn.Module, checkpoints: Checkpoints, parameters: str | Sequence[str] | None
) -> None:
    """Refuses a method that a model with checkpoints does not suffice for, by NeedNotMetError.

    Args:
        info: of the method.
        task: what a prediction is.
        model: that predicts.
        checkpoints: of the model.
        parameters: shell patterns of those that are differentiated; None for all.
    """
    nothing, computing = Examples(torch.empty(0), torch.empty(0)), GradientSettings(parameters)
    context = MethodContext(task, model, checkpoints.all_weights(), nothing, nothing, computing=computing)
    context.require(info.name, info.needs)
