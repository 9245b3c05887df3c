"""The fused kernels give what the projections give on a CPU; without a GPU they run in Triton's interpreter."""

import os
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from trak_core.projection import BlockProjection, RademacherProjection, SjltProjection

if find_spec("triton") is None:
    pytest.skip("triton is not installed; torch for NVIDIA GPUs brings it along", allow_module_level=True)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # Read when the kernels are defined.

from trak_core.projection import triton_kernels  # noqa: E402

BEFORE_THE_CARRY = 2**32 - 5
STARTS = [0, 6, 2**31 + 1, BEFORE_THE_CARRY, 2**32 + 3, 4 * BEFORE_THE_CARRY + 1, 2**40 + 2]
SEEDS = [0, 1, 16, 2**31, 2**32 + 7, 2**63 + 12345, 2**64 - 1]


def gradients_of(n_block: int, n: int) -> Tensor:
    return torch.randn(n_block, n, generator=torch.Generator().manual_seed(7))


def assert_equals_the_cpu(
    kernel: Callable[[Tensor, Tensor, int], None], projection: BlockProjection, n_block: int, n: int, start: int
) -> None:
    """Both add to what is there already; errors are measured against the sizes of the projected gradients."""
    gradients = gradients_of(n_block, n)
    expected = torch.full((projection.proj_dim, n), 0.5)
    fused = expected.to(DEVICE, copy=True)
    projection.accumulate(expected, gradients, start)
    kernel(fused, gradients.to(DEVICE), start)
    errors, sizes = (fused.cpu() - expected).norm(dim=0), expected.norm(dim=0)
    assert (errors <= 1e-5 * sizes).all()
    torch.testing.assert_close(fused.cpu(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def assert_rademacher_equals(proj_dim: int, n_block: int, n: int, start: int, seed: int) -> None:
    def kernel(projected: Tensor, gradients: Tensor, first: int) -> None:
        triton_kernels.rademacher(projected, gradients, first, seed)

    assert_equals_the_cpu(kernel, RademacherProjection(proj_dim, seed), n_block, n, start)


def assert_sjlt_equals(proj_dim: int, n_copies: int, n_block: int, n: int, start: int, seed: int) -> None:
    def kernel(projected: Tensor, gradients: Tensor, first: int) -> None:
        triton_kernels.sjlt(projected, gradients, first, seed, n_copies)

    assert_equals_the_cpu(kernel, SjltProjection(proj_dim, seed, n_copies), n_block, n, start)


@pytest.mark.parametrize(
    ("proj_dim", "n_block", "n"),
    [(1, 1, 1), (32, 32, 16), (128, 64, 64), (200, 77, 5), (129, 33, 70), (300, 100, 17)],
)
def test_fused_rademacher_equals_the_cpu_projection(proj_dim: int, n_block: int, n: int):
    assert_rademacher_equals(proj_dim, n_block, n, start=0, seed=3)


@pytest.mark.parametrize("start", STARTS)
def test_fused_rademacher_equals_the_cpu_projection_wherever_a_block_starts(start: int):
    assert_rademacher_equals(200, 50, 5, start, seed=3)


@pytest.mark.parametrize("seed", SEEDS)
def test_fused_rademacher_takes_all_64_bits_of_the_seed(seed: int):
    assert_rademacher_equals(200, 50, 5, BEFORE_THE_CARRY, seed)


def test_fused_rademacher_draws_the_very_signs_of_the_cpu_projection():
    """Gradients that are one parameter each show the signs themselves, without rounding."""
    projection = RademacherProjection(256, 11)  # a power of four: its root is exact
    shown = torch.zeros(256, 40, device=DEVICE)
    triton_kernels.rademacher(shown, torch.eye(40, device=DEVICE), BEFORE_THE_CARRY, projection.seed)
    signs = projection.signs(BEFORE_THE_CARRY, BEFORE_THE_CARRY + 40, torch.device("cpu"))
    assert torch.equal(shown.cpu() * 16, signs.T.float())


def test_fused_rademacher_adds_up_all_splits_of_the_parameters(monkeypatch: pytest.MonkeyPatch):
    """With four steps a program, 300 parameters take five programs, the last one in part."""
    monkeypatch.setattr(triton_kernels, "STEPS_A_PROGRAM", 4)
    assert_rademacher_equals(200, 300, 5, BEFORE_THE_CARRY, seed=3)


def test_fused_rademacher_gives_the_same_bits_every_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(triton_kernels, "STEPS_A_PROGRAM", 2)
    gradients = gradients_of(200, 5).to(DEVICE)
    runs = [torch.zeros(200, 5, device=DEVICE) for _ in range(2)]
    for run in runs:
        triton_kernels.rademacher(run, gradients, 9, 3)
    assert torch.equal(*runs)


@pytest.mark.parametrize(
    ("proj_dim", "n_block", "n"),
    [(1, 1, 1), (64, 256, 16), (200, 77, 5), (200, 1500, 5), (4096, 130, 70), (1000, 129, 64)],
)
@pytest.mark.parametrize("n_copies", [1, 3])
def test_fused_sjlt_equals_the_cpu_projection(proj_dim: int, n_copies: int, n_block: int, n: int):
    assert_sjlt_equals(proj_dim, n_copies, n_block, n, start=0, seed=3)


@pytest.mark.parametrize("start", [*STARTS, 1, 2, 3])
def test_fused_sjlt_equals_the_cpu_projection_wherever_a_block_starts(start: int):
    """The block fills whole tiles; one that begins within a Philox call reaches into the next tile."""
    assert_sjlt_equals(200, 2, 1024, 5, start, seed=3)


@pytest.mark.parametrize("seed", SEEDS)
def test_fused_sjlt_takes_all_64_bits_of_the_seed(seed: int):
    assert_sjlt_equals(200, 2, 50, 5, BEFORE_THE_CARRY, seed)


@pytest.mark.parametrize("shape", [(0, 5), (7, 0)])
def test_an_empty_block_adds_nothing(shape: tuple[int, int]):
    projected = torch.ones(16, shape[1], device=DEVICE)
    triton_kernels.rademacher(projected, torch.zeros(shape, device=DEVICE), 0, 1)
    triton_kernels.sjlt(projected, torch.zeros(shape, device=DEVICE), 0, 1, 1)
    assert torch.equal(projected, torch.ones_like(projected))
