"""Sparse Johnson-Lindenstrauss transform: each parameter goes, with a random sign, to few of the buckets.

With one bucket a parameter this is the count sketch (Charikar et al. 2002; Kane and Nelson 2014 for several): the cost
is that of reading the gradient once, whatever `proj_dim` is. On a CPU the map is a sparse matrix in rows of buckets,
times gradients that lie parameter-major; on a GPU a scattered addition.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.projection.projection import BlockProjection, runs_fused
from trak_core.projection.random_words import Stream, words, words_at


@dataclass(frozen=True)
class SjltProjection(BlockProjection):
    """A projection to `proj_dim` buckets, fixed by its seed.

    Copy r of parameter j takes word j of part r of the stream BUCKETS: its lowest bit is the sign (set: -1), the
    other 31 bits times `proj_dim` / 2^31 the bucket.
    """

    n_copies: int = 1  # buckets a parameter goes to
    # memory for the matrices of blocks seen before; beyond it they are made again for every batch
    cache_bytes: int = 2**28

    def accumulate(self, projected: Tensor, gradients: Tensor, start: int) -> None:
        """As in `BlockProjection`."""
        stop = start + len(gradients)
        if gradients.device.type == "cpu":
            projected.addmm_(self._matrix(start, stop, gradients.dtype), gradients)
            return
        if runs_fused(gradients):
            from trak_core.projection.triton_kernels import sjlt

            sjlt(projected, gradients, start, self.seed, self.n_copies)
            return
        for copy in range(self.n_copies):
            drawn = words(start, stop, self.seed, Stream.BUCKETS, copy, gradients.device)
            self._scatter(projected, gradients, drawn)

    def accumulate_rows(self, projected: Tensor, rows: Tensor, values: Tensor, start: int) -> None:
        """As in `BlockProjection`."""
        n, columns = len(rows), values.shape[2]
        unique, places = torch.unique(rows, return_inverse=True)
        parameters = start + unique[:, None] * columns + torch.arange(columns, device=rows.device)
        examples = torch.arange(n, device=rows.device)[:, None, None]
        for copy in range(self.n_copies):
            buckets, signs = self._split(words_at(parameters, self.seed, Stream.BUCKETS, copy))
            signed = values * (signs.to(values.dtype) * self.n_copies**-0.5)[places]
            projected.view(-1).index_add_(0, (buckets[places] * n + examples).flatten(), signed.flatten())

    def back(self, vector: Tensor, start: int, stop: int) -> Tensor:
        """As in `BlockProjection`."""
        found = vector.new_zeros(stop - start)
        if (matrix := self._cache.get((start, stop, vector.dtype))) is not None and not vector.is_cuda:
            each = vector.repeat_interleave(matrix.crow_indices().diff())
            found.index_add_(0, matrix.col_indices(), each * matrix.values())
            return found
        for copy in range(self.n_copies):
            buckets, signs = self._split(words(start, stop, self.seed, Stream.BUCKETS, copy, vector.device))
            found += vector[buckets] * signs * self.n_copies**-0.5
        return found

    def _scatter(self, projected: Tensor, gradients: Tensor, drawn: Tensor) -> None:
        buckets, signs = self._split(drawn)
        scale = signs.to(gradients.dtype) * self.n_copies**-0.5
        projected.index_add_(0, buckets, gradients * scale[:, None])

    def _split(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Buckets and signs (+-1) of words: two int64 tensors of their shape."""
        return ((drawn >> 1) * self.proj_dim) >> 31, 1 - 2 * (drawn & 1)

    def _matrix(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """The map of a block as a sparse matrix `[proj_dim, stop - start]`."""
        key = (start, stop, dtype)
        if key in self._cache:
            return self._cache[key]
        cpu = torch.device("cpu")
        parts = [words(start, stop, self.seed, Stream.BUCKETS, copy, cpu) for copy in range(self.n_copies)]
        buckets, signs = self._split(torch.cat(parts))
        order = buckets.argsort(stable=True)
        ends = torch.bincount(buckets, minlength=self.proj_dim).cumsum(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            matrix = torch.sparse_csr_tensor(
                torch.cat([ends.new_zeros(1), ends]).to(torch.int32),
                (order % (stop - start)).to(torch.int32),
                signs[order].to(dtype) * self.n_copies**-0.5,
                size=(self.proj_dim, stop - start),
                check_invariants=False,
            )
        return self._remember(key, matrix, self.cache_bytes)
