"""The steps of measuring every method of a run, each made of blocks that are computed and written once."""

import time
from collections.abc import Callable
from functools import partial

from trak_core.engine.measure_settings import MeasureSettings
from trak_core.engine.measurement import Measurement
from trak_core.engine.method_step import measure_method
from trak_core.engine.progress import ProgressReporter, Step, run_blocks
from trak_core.engine.removal_step import RemovalStep
from trak_core.engine.truth_step import retrain_datamodels, retrain_truth
from trak_core.methods import METHODS

PUBLISH_EVERY_SECONDS = 60
N_FLIP_ROUNDS = 4
SECONDS = {"magic": 120.0, "influence_exact": 90.0, "influence_cg": 40.0, "datamodel_lasso": 50.0, "trak_dropout": 8.0}
"""What the slow methods take on two CPU cores with the digits recipe; the others take a few seconds."""


def plan(settings: MeasureSettings, methods: list[str]) -> list[Step]:
    """The steps with their proportions, measured on two CPU cores with the digits recipe."""
    n_truths = len(settings.truths) if settings.n_truth_subsets else 0
    # Of two methods at least: the best and nearest neighbours, the run's own and random numbers where they differ.
    n_removals = 4 * len(settings.removal_sizes) if settings.n_removal_tests else 0
    models = settings.n_removal_tests * settings.n_removal_seeds
    steps = [
        Step("datamodels", "retraining on more random halves", 1, 0.02 * settings.n_datamodel_subsets + 0.1, False),
        Step("truths", "retraining on other shares of the data", max(1, n_truths), 8.0 * n_truths + 0.1, False),
    ]
    for method in methods:
        title = METHODS[method].info.title
        steps.append(Step(f"method {method}", f"measuring {title}", 1, SECONDS.get(method, 5.0), False))
    steps.append(
        Step("removal", "removing and retraining", max(1, n_removals), 0.04 * models * n_removals + 0.1, False)
    )
    steps.append(
        Step("flips", "searching the smallest sets that flip an answer", N_FLIP_ROUNDS, 0.04 * models + 0.1, False)
    )
    return steps


class MeasureSteps:
    """The steps of one measurement, in order.

    Args:
        measurement: under way.
    """

    def __init__(self, measurement: Measurement) -> None:
        self._m = measurement
        self.settings, self.writer = measurement.settings, measurement.writer
        self.methods = list(self.settings.methods)

    def check_needs(self) -> None:
        """Refuses a method that was asked for by name and cannot be had, before anything is begun."""
        if not self._m.is_every_method:
            context = self._m.read_context()
            for name in self.methods:
                context.require(name, METHODS[name].info.needs)

    def run(self, progress: ProgressReporter, fingerprint: str, published_at: float) -> None:
        """Does what is left to do, in order, and publishes along the way."""
        self.progress = progress
        self._published_at = published_at
        blocks: dict[str, dict[str, Callable[[], None]]] = {
            "datamodels": {"datamodels": partial(retrain_datamodels, self._m)},
            "truths": {f"truth {i}": partial(retrain_truth, self._m, i, truth) for i, truth in self._m.truths},
        }
        for method in self.methods:
            blocks[f"method {method}"] = {f"method {method}": partial(measure_method, self._m, method)}
        for name, of_step in blocks.items():
            self._step(name, of_step)
        self.publish()
        removal = RemovalStep(self._m)
        if self.settings.n_removal_tests and not self.writer.has("removals anew"):
            # Those of another measurement may be of other test examples and other seeds.
            counted = (self.writer.meta("n_diverged") or {}).items()
            made = {
                "removal_method": removal.methods[0],
                "removal_sizes": list(self.settings.removal_sizes),
                "n_diverged": {name: count for name, count in counted if not name.startswith("removals")},
            }
            self.writer.write("removals anew", {}, made, [("DELETE FROM removals", [])])
        self._step("removal", dict(removal.blocks()))
        flips: dict[str, Callable[[], None]] = {}
        for round_number in range(N_FLIP_ROUNDS):
            flips[f"flips {round_number}"] = partial(removal.narrow_flips, round_number)
        self._step("flips", flips)
        if not self.writer.has("done"):
            every = {"measured_every_method": True} if self._m.is_every_method else {}
            self.writer.write("done", {}, {"measured": fingerprint, **every})
        self.writer.publish()
        self.writer.finish()

    def _step(self, name: str, blocks: dict[str, Callable[[], None]]) -> None:
        run_blocks(self.writer, self.progress, name, blocks, self._done)

    def _done(self) -> None:
        self.progress.advance()
        if time.monotonic() - self._published_at > PUBLISH_EVERY_SECONDS:
            self.publish()

    def publish(self) -> None:
        """Shows readers what is there."""
        self.writer.publish()
        self._published_at = time.monotonic()
