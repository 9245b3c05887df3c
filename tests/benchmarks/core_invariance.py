"""Section of `attribution_core.py`: scores do not depend on how they were computed."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from tests.benchmarks.core_digits import digits, test_of, train_of
from tests.benchmarks.core_report import Report
from tests.benchmarks.digits_cnn import make_model
from trak_core import Attributor
from trak_core.gradients import Precision
from trak_core.projection import feature_maps
from trak_core.subjects.batches import read_data

__all__ = ["measure_invariance"]

TARGETS: dict[Precision, float] = {"float64": 1e-9, "float32": 1e-4}
PROJECTIONS: dict[str, dict[str, Any]] = {"none": {"projection": "none"}, "512": {"proj_dim": 512}}
BATCHES = (7, 64, 500)
WAYS = ("hooks", "functional", "loop")
N_LOOP = 200
"""Training examples for which gradients are computed in every way: one at a time takes long."""
BUFFERS = (1000, 5000, 50_000)
SMALL_BUDGET = 2**26
LARGE_BUDGET = 2**31
"""So that no batch is made smaller than what was asked for."""

Array = NDArray[np.float64]


def measure_invariance(report: Report) -> None:
    """Largest relative differences between scores that should be the same."""
    report.section("invariance: digits_cnn, 1 checkpoint, largest difference / largest score")
    report.say("score() returns float32, which hides differences below 6e-8: these are of the numbers before that")
    for precision, target in TARGETS.items():
        for name, settings in PROJECTIONS.items():
            for what, compare in _comparisons({"precision": precision, **settings}):
                try:
                    difference = compare()
                except Exception as error:  # one way that fails must not hide the others
                    report.say(f"{type(error).__module__}.{type(error).__name__}: {str(error).splitlines()[0]}")
                    difference = float("nan")
                report.check(f"{precision}, proj {name}: {what}", difference, "at most", target)


def _comparisons(settings: dict[str, Any]) -> Iterator[tuple[str, Callable[[], float]]]:
    """What is compared, and a function that gives the largest relative difference."""
    train, test = train_of(digits()), test_of(digits())
    plain = _scores(train, test, **settings)
    yield "the same once more", lambda: _distance(plain, _scores(train, test, **settings))

    def batches(size: int) -> float:
        loaders = [DataLoader(TensorDataset(*examples), batch_size=size) for examples in (train, test)]
        return _distance(plain, _scores(*loaders, **settings, batch_size=size, memory_budget=LARGE_BUDGET))

    for size in BATCHES:
        yield f"batches of {size} / as they come (64)", partial(batches, size)

    few = train[0][:N_LOOP], train[1][:N_LOOP]
    by_way = {way: _scores(few, test, **settings, gradients=way) for way in WAYS}
    for one, other in combinations(WAYS, 2):
        yield f"gradients {one} / {other}, {N_LOOP} train examples", partial(_distance, by_way[one], by_way[other])

    def threads() -> float:
        every = []
        for n in (1, 2):
            with _threads(n):
                every.append(_scores(train, test, **settings))
        return _distance(*every)

    yield "torch threads 1 / 2", threads

    def blocks(size: int) -> float:
        with mock.patch.object(feature_maps, "BUFFER_PARAMETERS", size):
            return _distance(plain, _scores(train, test, **settings))

    for size in BUFFERS if "proj_dim" in settings else ():
        yield f"blocks of {size} parameters / {feature_maps.BUFFER_PARAMETERS}", partial(blocks, size)

    def stored() -> float:
        with tempfile.TemporaryDirectory() as temporary:
            store = Path(temporary) / "store"
            return _distance(plain, _scores(train, test, **settings, store=store, memory_budget=SMALL_BUDGET))

    yield f"store in a file, memory_budget {SMALL_BUDGET} / in memory", stored


def _scores(train: object, test: object, *, batch_size: int | None = None, **settings: Any) -> Array:
    """What `Attributor.score` gives, before it is rounded to float32."""
    checkpoints = digits().checkpoints[:1]
    with Attributor(
        make_model(), checkpoints=checkpoints, progress=False, batch_size=batch_size, **settings
    ) as attributor:
        attributor.fit(train)
        if batch_size is not None:
            assert attributor.plan.batch_size == batch_size
        questions = attributor.fitted.questions(read_data(test, "test", batch_size), None)
        blocks = attributor.fitted.iter_scores(questions, attributor.options.ridge)
        return torch.cat([scores.double() for scores in blocks]).numpy()


def _distance(expected: Array, found: Array) -> float:
    return float(np.abs(expected - found).max() / np.abs(expected).max())


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
