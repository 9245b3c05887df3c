"""Whether Triton kernels can and should run on a tensor."""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


def runs_fused(gradients: Tensor) -> bool:
    """True for float32 gradients on a GPU where the package triton is installed.

    torch for NVIDIA GPUs brings it along on Linux. The kernels draw random numbers inside the product; without them
    each block's numbers pass through memory first.
    """
    return gradients.is_cuda and gradients.dtype == torch.float32 and _has_triton()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
