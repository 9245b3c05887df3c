"""Dense random signs: `phi = P^T g` with entries of P equal to +-1 / sqrt(proj_dim).

Johnson and Lindenstrauss: the inner product of two projected gradients has the unprojected one as its mean and
a standard deviation of about `|g| |g'| / sqrt(proj_dim)` (Achlioptas 2003 for signs).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trak_core.errors import InvalidSettingError

__all__ = ["RademacherProjection"]


@dataclass(frozen=True)
class RademacherProjection:
    """A projection from `n_parameters` to `proj_dim` dimensions, fixed by its seed alone.

    Signs come from the counter-based Philox generator, in blocks of `BLOCK` parameters that each have a counter
    of their own: a block can be drawn without the blocks before it, and on a GPU the signs are the CPU's.
    """

    n_parameters: int
    proj_dim: int
    seed: int

    BLOCK = 4096

    def __post_init__(self) -> None:
        if self.proj_dim < 1 or self.n_parameters < 1:
            raise InvalidSettingError(
                f"proj_dim={self.proj_dim} for {self.n_parameters} parameters; both must be at least 1."
            )

    def project(self, gradients: Tensor) -> Tensor:
        """Projected gradients `[n, proj_dim]` of `[n, n_parameters]`, in their dtype and on their device.

        Raises:
            InvalidSettingError: the gradients have another number of parameters.
        """
        if gradients.shape[1] != self.n_parameters:
            raise InvalidSettingError(
                f"gradients have {gradients.shape[1]} columns, but the projection is for {self.n_parameters} "
                "parameters; use the projection made for this model."
            )
        projected = gradients.new_zeros(len(gradients), self.proj_dim)
        for start in range(0, self.n_parameters, self.BLOCK):
            signs = self._signs(start).to(gradients)
            projected.addmm_(gradients[:, start : start + self.BLOCK], signs)
        return projected.div_(self.proj_dim**0.5)

    def _signs(self, start: int) -> Tensor:
        """Signs `[block, proj_dim]` int8 of the parameters from `start` on."""
        rows = min(self.BLOCK, self.n_parameters - start)
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, start // self.BLOCK]))
        bits = np.unpackbits(np.frombuffer(generator.bytes(-(-rows * self.proj_dim // 8)), dtype=np.uint8))
        signs = 2 * bits[: rows * self.proj_dim].astype(np.int8) - 1
        return torch.from_numpy(signs.reshape(rows, self.proj_dim))
