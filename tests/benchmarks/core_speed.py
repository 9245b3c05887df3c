"""Section of `attribution_core.py`: projecting a million parameters, our way and that of traker and dattri on a CPU."""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.benchmarks.core_report import Report
from trak_core import Attributor
from trak_core.projection import SjltProjection, feature_maps

__all__ = ["measure_sjlt"]

N_PARAMETERS = 1_000_000
PROJ_DIM = 2048
BATCH = 32
DENSE_BLOCK = 100
"""Columns that traker's BasicProjector draws at once."""
DENSE_TIMED = 2
"""Blocks of columns that are timed; the rest takes as long."""
LONGEST = 180.0
N_MLP = 1024
BATCH_MLP = 64


def measure_sjlt(report: Report) -> None:
    """Projected examples per CPU second."""
    report.section(f"sjlt: {N_PARAMETERS:,} parameters to {PROJ_DIM}, {BATCH} examples at once")
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(N_PARAMETERS, BATCH, generator=generator)
    ours = _time_sjlt(report, gradients)
    dense = _time_dense(report, gradients.T.contiguous())
    report.check("examples per CPU second, SJLT / dense drawn anew", ours / dense, "at least", 100, "x")
    for kind in ("rademacher", "normal"):
        if BATCH / dense > LONGEST:
            report.say(f"traker's BasicProjector ({kind}): left out, it would take too long here")
            continue
        theirs = _time_basic_projector(gradients.T.contiguous(), kind)
        report.say(
            f"traker's BasicProjector ({kind}), all {PROJ_DIM} columns of one batch: {theirs:.3g} examples/CPU s; "
            f"ours is {ours / theirs:,.0f}x"
        )
    _time_mlp(report)


def _time_sjlt(report: Report, gradients: Tensor) -> float:
    """Examples per CPU second, in the blocks that `SketchMap` forms."""
    projection = SjltProjection(PROJ_DIM, seed=0)
    projected = torch.zeros(PROJ_DIM, BATCH)

    def project() -> None:
        for start in range(0, N_PARAMETERS, feature_maps.BUFFER_PARAMETERS):
            projection.accumulate(projected, gradients[start : start + feature_maps.BUFFER_PARAMETERS], start)

    first = _cpu_seconds(project, 1)
    again = _cpu_seconds(project, 20)
    blocks = math.ceil(N_PARAMETERS / feature_maps.BUFFER_PARAMETERS)
    report.say(
        f"SJLT, {blocks} blocks of {feature_maps.BUFFER_PARAMETERS:,} parameters: {BATCH / again:,.0f} examples/CPU s "
        f"with the matrix at hand; the first batch, which makes it, {BATCH / first:,.0f} examples/CPU s"
    )
    whole = SjltProjection(PROJ_DIM, seed=0)
    whole.accumulate(projected, gradients, 0)
    single = _cpu_seconds(lambda: whole.accumulate(projected, gradients, 0), 20)
    report.say(f"SJLT, all parameters in one block: {BATCH / single:,.0f} examples/CPU s")
    return BATCH / again


def _time_dense(report: Report, gradients: Tensor) -> float:
    """Examples per CPU second of a dense Gaussian matrix that is drawn anew, as in BasicProjector."""
    generator = torch.Generator()
    block = torch.empty(N_PARAMETERS, DENSE_BLOCK)
    projected = torch.zeros(BATCH, DENSE_TIMED * DENSE_BLOCK)

    def project() -> None:
        for number in range(DENSE_TIMED):
            generator.manual_seed(1000 * number)
            block.normal_(generator=generator)
            torch.matmul(gradients, block, out=projected[:, number * DENSE_BLOCK : (number + 1) * DENSE_BLOCK])

    timed = min(_cpu_seconds(project, 1) for _ in range(2))
    seconds = timed * PROJ_DIM / (DENSE_TIMED * DENSE_BLOCK)
    report.say(
        f"dense Gaussian drawn anew for every batch: {BATCH / seconds:.3g} examples/CPU s ({DENSE_TIMED} blocks of "
        f"{DENSE_BLOCK} columns took {timed:.2f} s, scaled to {PROJ_DIM} columns)"
    )
    return BATCH / seconds


def _time_basic_projector(gradients: Tensor, kind: str) -> float:
    from trak.projectors import BasicProjector, ProjectionType

    projector = BasicProjector(
        grad_dim=N_PARAMETERS, proj_dim=PROJ_DIM, seed=0, proj_type=ProjectionType(kind), device=torch.device("cpu")
    )
    return BATCH / _cpu_seconds(lambda: projector.project(gradients, 0), 1)


def _time_mlp(report: Report) -> None:
    """Gradients and projection together, through the public interface."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 210), nn.ReLU(), nn.Linear(210, 10))
    size = sum(parameter.numel() for parameter in model.parameters())
    train = torch.randn(N_MLP, 784), torch.randint(10, (N_MLP,))
    attributor = Attributor(
        model, proj_dim=PROJ_DIM, projection="sjlt", device="cpu", batch_size=BATCH_MLP, progress=False
    )
    attributor.fit(train)  # not timed: torch warms up
    wall = time.perf_counter()
    attributor.fit(train)  # a new projection, whose matrix is made again
    wall = time.perf_counter() - wall
    report.say(
        f"Attributor.fit, MLP of {size:,} parameters, {N_MLP:,} examples in batches of {attributor.plan.batch_size}: "
        f"{N_MLP / attributor.cpu_seconds:,.0f} examples/CPU s, {N_MLP / wall:,.0f} examples/s on the clock, gradients "
        "and the making of the matrix included"
    )
    attributor.close()


def _cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """Mean CPU seconds of one repetition."""
    began = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - began) / repeats
