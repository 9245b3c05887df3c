"""What people hand to an `Attributor`, brought into the form that it works with."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from trak_core.errors import InvalidModelError, InvalidSettingError

__all__ = ["copied", "find_device", "target_tensor"]


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
