"""What every projection of formed gradients says, and when one runs as a Triton kernel."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class BlockProjection(ABC):
    """A linear map `phi = P^T g` that takes the gradient block by block of parameters.

    P is fixed by a seed. It is scaled so that inner products survive on average (Johnson and Lindenstrauss):
    the mean of `phi . phi'` over seeds is `g . g'`, its standard deviation about `|g| |g'| / sqrt(proj_dim)`.
    """

    proj_dim: int  # length of a projected gradient
    seed: int  # of all random numbers
    _cache: dict[Any, Tensor] = field(default_factory=dict, repr=False, compare=False, kw_only=True)

    @abstractmethod
    def accumulate(self, projected: Tensor, gradients: Tensor, start: int) -> None:
        """Adds the part of a block of parameters to `projected` `[proj_dim, n]`, in place.

        Args:
            projected: `[proj_dim, n]`.
            gradients: of the block, `[n_block, n]`, parameter-major and contiguous.
            start: number of parameters before the block.
        """

    @abstractmethod
    def accumulate_rows(self, projected: Tensor, rows: Tensor, values: Tensor, start: int) -> None:
        """The same for a table, of which each example has a gradient in few rows.

        Args:
            projected: `[proj_dim, n]`, contiguous.
            rows: their numbers `[n, T]` int64; those of a row that comes several times add up.
            values: gradients `[n, T, n_columns]`.
            start: number of parameters before the table.
        """

    @abstractmethod
    def back(self, vector: Tensor, start: int, stop: int) -> Tensor:
        """`P v` for parameters `start` to `stop`, `[stop - start]`: what takes a projected vector back to parameters.

        The inner product of a gradient with it is that of the projected gradient with `vector` `[proj_dim]`.
        """

    def _remember(self, key: Any, drawn: Tensor, limit: int) -> Tensor:
        """What was drawn, kept for later batches as far as the memory of `limit` bytes allows."""
        if sum(map(_n_bytes, self._cache.values())) + _n_bytes(drawn) <= limit:
            self._cache[key] = drawn
        return drawn


def _n_bytes(drawn: Tensor) -> int:
    # A sparse matrix has an int32 column for each value.
    return drawn.nbytes if drawn.layout == torch.strided else drawn.values().nbytes + drawn.col_indices().nbytes


def runs_fused(gradients: Tensor) -> bool:
    """True for float32 gradients on a GPU where the package triton is installed.

    torch for NVIDIA GPUs brings it along on Linux. The kernels draw random numbers inside the product; without them
    each block's numbers pass through memory first.
    """
    return gradients.is_cuda and gradients.dtype == torch.float32 and _has_triton()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
