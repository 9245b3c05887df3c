"""Dense random signs: `phi = P^T g` with entries of P equal to +-1 / sqrt(proj_dim) (Achlioptas 2003).

The plainest projection, and the slowest on a CPU: every parameter meets every column. On a GPU with Triton the signs
are drawn inside the product and never stored.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.projection.projection import BlockProjection, runs_fused
from trak_core.projection.random_words import MASK, Stream, philox

WORD = 32
COLUMNS_A_DRAW = 128
BLOCK = 4096
"""Parameters whose signs are held at once."""


@dataclass(frozen=True)
class RademacherProjection(BlockProjection):
    """A projection to `proj_dim` dimensions, fixed by its seed.

    The sign of parameter j and column c is bit `c % 32` of word `(c % 128) // 32` of
    `philox((j mod 2^32, j div 2^32, c // 128, SIGNS), seed)`; a set bit is -1.
    """

    cache_bytes: int = 2**26  # memory for signs drawn before, as bits; beyond it they are drawn again for every batch

    def accumulate(self, projected: Tensor, gradients: Tensor, start: int) -> None:
        """As in `BlockProjection`."""
        if runs_fused(gradients):
            from trak_core.projection.triton_kernels import rademacher

            rademacher(projected, gradients, start, self.seed)
            return
        for first in range(0, len(gradients), BLOCK):
            part = gradients[first : first + BLOCK]
            signs = self.signs(start + first, start + first + len(part), gradients.device)
            projected.addmm_(signs.T.to(gradients.dtype), part, alpha=self.proj_dim**-0.5)

    def accumulate_rows(self, projected: Tensor, rows: Tensor, values: Tensor, start: int) -> None:
        """As in `BlockProjection`; rows that no example has are left out."""
        n, _, columns = values.shape
        for some in torch.split(torch.unique(rows), max(1, BLOCK // columns)):
            places = torch.searchsorted(some, rows.contiguous()).clamp_(max=len(some) - 1)
            kept = values * (some[places] == rows)[..., None]
            gradients = values.new_zeros(n, len(some), columns)
            gradients.scatter_add_(1, places[..., None].expand(-1, -1, columns), kept)
            parameters = start + some[:, None] * columns + torch.arange(columns, device=rows.device)
            signs = self._unpack(self._draw(parameters.flatten()))
            projected.addmm_(signs.T.to(values.dtype), gradients.reshape(n, -1).T, alpha=self.proj_dim**-0.5)

    def back(self, vector: Tensor, start: int, stop: int) -> Tensor:
        """As in `BlockProjection`."""
        blocks = ((first, min(first + BLOCK, stop)) for first in range(start, stop, BLOCK))
        scaled = vector * self.proj_dim**-0.5
        return torch.cat([self.signs(first, last, vector.device).to(vector.dtype) @ scaled for first, last in blocks])

    def signs(self, start: int, stop: int, device: torch.device) -> Tensor:
        """Signs of parameters `start` to `stop`: int8 `[stop - start, proj_dim]`."""
        return self._unpack(self._packed(start, stop, device))

    def _unpack(self, packed: Tensor) -> Tensor:
        shifts = torch.arange(WORD, dtype=torch.int32, device=packed.device)
        bits = (packed[..., None] >> shifts).to(torch.int8) & 1
        return (1 - 2 * bits).reshape(len(packed), -1)[:, : self.proj_dim]

    def _packed(self, start: int, stop: int, device: torch.device) -> Tensor:
        """Words `[stop - start, ceil(proj_dim / 128) * 4]` int32."""
        key = (start, stop, device)
        if key in self._cache:
            return self._cache[key]
        return self._remember(key, self._draw(torch.arange(start, stop, device=device)), self.cache_bytes)

    def _draw(self, parameters: Tensor) -> Tensor:
        """Words of the given parameters: `[len(parameters), ceil(proj_dim / 128) * 4]` int32."""
        draws = torch.arange(-(-self.proj_dim // COLUMNS_A_DRAW), device=parameters.device)[None]
        shape = (len(parameters), draws.shape[1])
        low, high = (parameters & MASK)[:, None].expand(shape), (parameters >> 32)[:, None].expand(shape)
        drawn = philox((low, high, draws.expand(shape), int(Stream.SIGNS)), self.seed)
        return torch.stack(drawn, dim=2).reshape(len(parameters), -1).to(torch.int32)  # keeps the low 32 bits
