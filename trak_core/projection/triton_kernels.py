"""Projections on a GPU in one pass each: the random words are drawn inside the kernel and never stored.

The words are those of `random_words`, so the signs and buckets are the same as on a CPU. Only the order of the sums
differs. Triton is needed to import this module.
"""

# mypy: disallow-untyped-decorators=False

import torch
import triton
import triton.language as tl
from torch import Tensor

from trak_core.projection.random_words import Stream

COLUMNS_A_DRAW = 128
"""Signs in the four words of one Philox call."""
SAMPLES = 64
"""Most samples in a tile; more samples mean that words are drawn again."""
SMALLEST_DOT = 16
PARAMETERS = 16
"""Parameters of one step of the Rademacher kernel; with 32 the registers of a Hopper GPU do not suffice."""
PROGRAMS = 1024
"""Programs of the Rademacher kernel to aim at: some for each multiprocessor, the same on every GPU."""
STEPS_A_PROGRAM = 64
"""Fewest steps that make a program worth its start and its share of the partial sums."""
SJLT_TILE = 4096
"""Entries of the gradients that a program of the SJLT kernel holds."""


def rademacher(projected: Tensor, gradients: Tensor, start: int, seed: int) -> None:
    """Adds a block's part of a `RademacherProjection`.

    The parameters are split over programs. Each writes sums of its own, which are then added up in a fixed order: the
    result is the same in every run.

    Args:
        projected: `[proj_dim, n]` float32, changed in place.
        gradients: of the block, `[n_block, n]` float32, parameter-major and contiguous.
        start: number of parameters before the block.
        seed: of the signs, 0 to 2^64 - 1.
    """
    if gradients.numel() == 0:
        return
    (n_block, n), proj_dim = gradients.shape, len(projected)
    samples = max(SMALLEST_DOT, _tile(n))
    n_draws, n_tiles = triton.cdiv(proj_dim, COLUMNS_A_DRAW), triton.cdiv(n, samples)
    steps = triton.cdiv(triton.cdiv(n_block, PARAMETERS), triton.cdiv(PROGRAMS, n_draws * n_tiles))
    rows_a_split = max(steps, STEPS_A_PROGRAM) * PARAMETERS
    n_splits = triton.cdiv(n_block, rows_a_split)
    partial = gradients.new_empty(n_splits, proj_dim, n)
    with torch.cuda.device(gradients.get_device()):
        _rademacher_kernel[n_draws, n_splits, n_tiles](
            partial,
            gradients,
            start,
            seed,
            n_block,
            n,
            proj_dim,
            rows_a_split,
            STREAM=int(Stream.SIGNS),
            PARAMETERS=PARAMETERS,
            SAMPLES=samples,
            enable_fp_fusion=True,  # Left open, Triton 3.9 warns and 3.10 separates products and sums.
        )
    projected.add_(partial.sum(0), alpha=proj_dim**-0.5)


def sjlt(projected: Tensor, gradients: Tensor, start: int, seed: int, n_copies: int) -> None:
    """Adds a block's part of an `SjltProjection`.

    Programs add to the buckets as they come, so the last bits of the result can differ between runs.

    Args:
        projected: `[proj_dim, n]` float32, contiguous, changed in place.
        gradients: of the block, `[n_block, n]` float32, parameter-major and contiguous.
        start: number of parameters before the block.
        seed: of buckets and signs, 0 to 2^64 - 1.
        n_copies: buckets a parameter goes to.
    """
    if gradients.numel() == 0:
        return
    n_block, n = gradients.shape
    samples = _tile(n)
    rows = SJLT_TILE // samples
    # Tiles begin where a Philox call does, so the first one can lie partly before the block.
    grid = (triton.cdiv(start % 4 + n_block, rows), triton.cdiv(n, samples))
    with torch.cuda.device(gradients.get_device()):
        _sjlt_kernel[grid](
            projected,
            gradients,
            start,
            seed,
            n_block,
            n,
            len(projected),
            n_copies,
            n_copies**-0.5,
            STREAM=int(Stream.BUCKETS),
            PARAMETERS=rows,
            SAMPLES=samples,
            enable_fp_fusion=True,  # Left open, Triton 3.9 warns and 3.10 separates products and sums.
        )


def _tile(n: int) -> int:
    return min(SAMPLES, int(triton.next_power_of_2(n)))


# Annotations of numbers fix their width in the kernel, whatever the value. Without them, and without
# `do_not_specialize`, Triton would compile again for small and large starts and seeds.


@triton.jit(do_not_specialize=["start", "seed"])
def _rademacher_kernel(
    partial: tl.tensor,
    gradients: tl.tensor,
    start: tl.int64,
    seed: tl.uint64,
    n_block: tl.int32,
    n: tl.int32,
    proj_dim: tl.int32,
    rows_a_split: tl.int32,
    STREAM: tl.constexpr,
    PARAMETERS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> None:
    """Sums of one split of the parameters, for the 128 columns of a draw and a tile of samples."""
    draw, split = tl.program_id(0), tl.program_id(1)
    samples = tl.program_id(2) * SAMPLES + tl.arange(0, SAMPLES)
    first = split * rows_a_split
    last = tl.minimum(first + rows_a_split, n_block)
    sums_0 = tl.zeros((32, SAMPLES), dtype=tl.float32)
    sums_1 = tl.zeros((32, SAMPLES), dtype=tl.float32)
    sums_2 = tl.zeros((32, SAMPLES), dtype=tl.float32)
    sums_3 = tl.zeros((32, SAMPLES), dtype=tl.float32)
    for step in range(first, last, PARAMETERS):
        rows = (step + tl.arange(0, PARAMETERS)).to(tl.int64)
        known = (rows < last)[:, None] & (samples < n)[None, :]
        block = tl.load(gradients + rows[:, None] * n + samples[None, :], mask=known, other=0.0)
        number = start.to(tl.int64) + rows
        words = tl.philox(seed, number.to(tl.uint32), (number >> 32).to(tl.uint32), draw, STREAM)
        sums_0 = tl.dot(_signs(words[0]), block, sums_0, input_precision="ieee")
        sums_1 = tl.dot(_signs(words[1]), block, sums_1, input_precision="ieee")
        sums_2 = tl.dot(_signs(words[2]), block, sums_2, input_precision="ieee")
        sums_3 = tl.dot(_signs(words[3]), block, sums_3, input_precision="ieee")
    _store(partial, sums_0, split, draw * 128, samples, n, proj_dim)
    _store(partial, sums_1, split, draw * 128 + 32, samples, n, proj_dim)
    _store(partial, sums_2, split, draw * 128 + 64, samples, n, proj_dim)
    _store(partial, sums_3, split, draw * 128 + 96, samples, n, proj_dim)


@triton.jit
def _signs(words: tl.tensor) -> tl.tensor:
    """The 32 signs of each word as float32 `[32, words]`: 1.0 with the drawn bit as its sign bit."""
    sign_bits = (words[None, :] << (31 - tl.arange(0, 32)).to(tl.uint32)[:, None]) & 0x80000000
    return (sign_bits | 0x3F800000).to(tl.float32, bitcast=True)


@triton.jit
def _store(
    partial: tl.tensor,
    sums: tl.tensor,
    split: tl.tensor,
    first_column: tl.tensor,
    samples: tl.tensor,
    n: tl.tensor,
    proj_dim: tl.tensor,
) -> None:
    columns = first_column + tl.arange(0, 32)
    places = (split.to(tl.int64) * proj_dim + columns)[:, None] * n + samples[None, :]
    tl.store(partial + places, sums, mask=(columns < proj_dim)[:, None] & (samples < n)[None, :])


@triton.jit(do_not_specialize=["start", "seed"])
def _sjlt_kernel(
    projected: tl.tensor,
    gradients: tl.tensor,
    start: tl.int64,
    seed: tl.uint64,
    n_block: tl.int32,
    n: tl.int32,
    proj_dim: tl.int32,
    n_copies: tl.int32,
    scale: tl.float32,
    STREAM: tl.constexpr,
    PARAMETERS: tl.constexpr,
    SAMPLES: tl.constexpr,
) -> None:
    """Adds a tile of parameters and samples to the buckets of its parameters."""
    tile = tl.program_id(0).to(tl.int64)
    before = start.to(tl.int64)
    rows = tile * PARAMETERS + tl.arange(0, PARAMETERS) - before % 4
    samples = tl.program_id(1) * SAMPLES + tl.arange(0, SAMPLES)
    known = ((rows >= 0) & (rows < n_block))[:, None] & (samples < n)[None, :]
    block = tl.load(gradients + rows[:, None] * n + samples[None, :], mask=known, other=0.0) * scale
    call = before // 4 + tile * (PARAMETERS // 4) + tl.arange(0, PARAMETERS // 4)
    for copy in range(n_copies):
        words = tl.philox(seed, call.to(tl.uint32), (call >> 32).to(tl.uint32), copy, STREAM)
        drawn = tl.interleave(tl.interleave(words[0], words[2]), tl.interleave(words[1], words[3]))
        buckets = ((drawn >> 1).to(tl.int64) * proj_dim) >> 31
        signed = tl.where((drawn & 1)[:, None] == 1, -block, block)
        tl.atomic_add(projected + buckets[:, None] * n + samples[None, :], signed, mask=known, sem="relaxed")
