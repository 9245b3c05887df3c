"""What every projection of formed gradients says."""

from typing import Protocol

from torch import Tensor


class BlockProjection(Protocol):
    """A linear map `phi = P^T g` that takes the gradient block by block of parameters.

    P is fixed by a seed. It is scaled so that inner products survive on average (Johnson and Lindenstrauss):
    the mean of `phi . phi'` over seeds is `g . g'`, its standard deviation about `|g| |g'| / sqrt(proj_dim)`.
    """

    @property
    def proj_dim(self) -> int:
        """Length of a projected gradient."""
        ...

    def accumulate(self, projected: Tensor, gradients: Tensor, start: int) -> None:
        """Adds the part of a block of parameters.

        Args:
            projected: `[proj_dim, n]`, changed in place.
            gradients: of the block, `[n_block, n]`, parameter-major and contiguous.
            start: number of parameters before the block.
        """
        ...

    def accumulate_at(self, projected: Tensor, gradients: Tensor, parameters: Tensor) -> None:
        """The same for scattered parameters.

        Args:
            projected: `[proj_dim, n]`, changed in place.
            gradients: `[n_parameters, n]`.
            parameters: number of each parameter, int64 `[n_parameters]`, no two alike.
        """
        ...
