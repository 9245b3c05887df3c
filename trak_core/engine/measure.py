"""Adds to a finished run: what a measurement of its methods finds, or the map that it lacks.

Each piece of work is written when it is done and never done again; what is finished is published along the way.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from trak_core.engine.map_step import map_tables
from trak_core.engine.measure_settings import FLIP_ROUNDS, METHODS_REMOVED, MeasureSettings
from trak_core.engine.measurement import Measurement
from trak_core.engine.method_step import measure_method
from trak_core.engine.progress import ProgressReporter, Step, run_blocks
from trak_core.engine.removal_step import RemovalStep
from trak_core.engine.subject import read_build
from trak_core.engine.truth_step import retrain_datamodels, retrain_truth
from trak_core.errors import NotInRunError
from trak_core.methods import METHODS
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus, read_status
from trak_core.store.run import open_run
from trak_core.store.schema import Shape
from trak_core.store.writer import StoreWriter, build_lock, clear_site
from trak_core.subjects.of_run import why_no_subject, why_not_made_again

PUBLISH_EVERY_SECONDS = 60
SECONDS = {"magic": 120.0, "influence_exact": 90.0, "influence_cg": 40.0, "datamodel_lasso": 50.0, "trak_dropout": 8.0}
"""What the slow methods take on two CPU cores with the digits recipe; the others take a few seconds."""
MAP_REVISION = 1
"""Raise it with any change of the code that moves the points of the map."""

Begin = Callable[[StoreWriter], tuple[ProgressReporter, Callable[[], None]]]


def measure_run(
    run_dir: Path, settings: MeasureSettings, listener: Callable[[BuildStatus], None] = lambda status: None
) -> None:
    """Measures what is not measured yet of every method of a run: its scores, its evidence and its cost.

    The listener is called with the status whenever it changes.

    Raises:
        NotInRunError: data and model of the run are unavailable, or its build is not finished.
        InvalidSettingError: the run was built on a GPU, and there is none.
        RunMismatchError: the run was built by another version or from other data, or an unfinished measurement has
            other settings.
        RunBusyError: another process is building or measuring this run.
        NeedNotMetError: a method was asked for by name and is unavailable.
        StorageError: the disk is full, read-only or failing.
    """
    with open_run(run_dir) as run:
        reason, retrains = why_no_subject(run), why_not_made_again(run) is None
        info, made = run.info, run.info.provenance
    if reason:
        raise NotInRunError(
            f"run {run_dir.name!r} {reason}. `python -m trak_core build RECIPE` makes a run that can be measured, and "
            "attributor.measure(...) measures one where it was saved."
        )
    if not retrains:
        settings = settings.without_retraining()
    if info.is_projected:
        raise NotInRunError(
            f"run {run_dir.name!r} has {info.n_train:,} train examples, or a large model: its kernel is projected, "
            "and methods are compared by kernels of whole gradients. Build a run with n_train=5000, or with a smaller "
            "model, to compare them."
        )
    if not made.get("complete"):
        data = " PATH ..." if made.get("model") else ""
        what = made.get("subject") or made["recipe"]
        status = read_status(run_dir)  # which knows all that the build was asked for
        command = status.in_a_terminal if status else ""
        command = command or f"python -m trak_core build {what}{data} --name {run_dir.name}"
        raise NotInRunError(f"run {run_dir.name!r} is not finished; finish it first: `{command}`.")
    with open_run(run_dir) as run:
        build_settings, subject = read_build(run)
    fingerprint = settings.fingerprint(made["fingerprint"])

    def begin(writer: StoreWriter) -> tuple[ProgressReporter, Callable[[], None]]:
        files = RunFiles(run_dir)
        measurement = Measurement(settings, build_settings, subject, files, writer)
        _check_needs(measurement)
        progress = ProgressReporter(files, _steps(settings), settings.command(run_dir.name), listener)
        return progress, lambda: _measure(measurement, progress, fingerprint)

    add_to_run(run_dir, fingerprint, lambda made: made.get("measured") == fingerprint, begin)


def _steps(settings: MeasureSettings) -> list[Step]:
    """The steps with their proportions, measured on two CPU cores with the digits recipe."""
    n_truths = len(settings.truths) if settings.n_truth_subsets else 0
    n_removals = METHODS_REMOVED * len(settings.removal_sizes) if settings.n_removal_tests else 0
    models = settings.n_removal_tests * settings.n_removal_seeds
    steps = [
        Step("datamodels", "retraining on more random halves", 1, 0.02 * settings.n_datamodel_subsets + 0.1),
        Step("truths", "retraining on other shares of the data", max(1, n_truths), 8.0 * n_truths + 0.1),
    ]
    for method in settings.in_order:
        title = METHODS[method].info.title
        steps.append(Step(f"method {method}", f"measuring {title}", 1, SECONDS.get(method, 5.0)))
    return [
        *steps,
        Step("removal", "removing and retraining", max(1, n_removals), 0.04 * models * n_removals + 0.1),
        Step("flips", "searching the smallest sets that flip an answer", FLIP_ROUNDS, 0.04 * models + 0.1),
    ]


def _check_needs(m: Measurement) -> None:
    """Refuses a method that was asked for by name and is unavailable, before anything is begun."""
    if not m.settings.is_every_method:
        context = m.read_context()
        for name in m.settings.methods:
            context.require(name, METHODS[name].info.needs)


def _measure(m: Measurement, progress: ProgressReporter, fingerprint: str) -> None:
    """Does what is left to do, in order, and publishes along the way."""
    published_at = time.monotonic()

    def publish() -> None:
        nonlocal published_at
        m.writer.publish()
        published_at = time.monotonic()

    def done() -> None:
        progress.advance()
        if time.monotonic() - published_at > PUBLISH_EVERY_SECONDS:
            publish()

    def step(name: str, blocks: dict[str, Callable[[], None]]) -> None:
        run_blocks(m.writer, progress, name, blocks, done)

    step("datamodels", {"datamodels": partial(retrain_datamodels, m)})
    step("truths", {f"truth {i}": partial(retrain_truth, m, i, truth) for i, truth in m.truths})
    for method in m.settings.in_order:
        step(f"method {method}", {f"method {method}": partial(measure_method, m, method)})
    publish()
    removal = RemovalStep(m)
    if m.settings.n_removal_tests and not m.writer.has("removals anew"):
        # Those of another measurement may be of other test examples and other seeds.
        counted = (m.writer.meta("n_diverged") or {}).items()
        made = {
            "removal_method": removal.methods[0],
            "removal_sizes": list(m.settings.removal_sizes),
            "n_diverged": {name: count for name, count in counted if not name.startswith("removals")},
        }
        m.writer.write("removals anew", {}, made, [("DELETE FROM removals", [])])
    step("removal", dict(removal.blocks()))
    step("flips", {f"flips {i}": partial(removal.narrow_flips, i) for i in range(FLIP_ROUNDS)})
    if not m.writer.has("done"):
        every = {"measured_every_method": True} if m.settings.is_every_method else {}
        m.writer.write("done", {}, {"measured": fingerprint, **every})


def map_run(run_dir: Path, listener: Callable[[BuildStatus], None] = lambda status: None) -> None:
    """Draws the map of a run that has none: one that was saved from Python, say. Needs nothing but its store.

    The listener is called with the status whenever it changes.

    Raises:
        NotInRunError: the build of the run is not finished; it draws the map itself. Or the run holds no features.
        RunBusyError: another process is building or measuring this run.
        RunMismatchError: its methods are being measured, and that was stopped.
        StorageError: the disk is full, read-only or failing.
    """
    with open_run(run_dir) as run:
        made, has_features = run.info.provenance, run.info.proj_dim > 0
    if not made.get("complete"):
        raise NotInRunError(
            f"run {run_dir.name!r} is not finished; its build draws the map at its end: "
            f"`python -m trak_core build {made['recipe']} --name {run_dir.name}`."
        )
    if not has_features:
        raise NotInRunError(
            f"run {run_dir.name!r} holds no features, which the map is drawn from; runs of recipes, of own data and of "
            "an Attributor hold them."
        )

    def begin(writer: StoreWriter) -> tuple[ProgressReporter, Callable[[], None]]:
        steps = [Step("map", "drawing the map", 1, 10.0)]
        progress = ProgressReporter(RunFiles(run_dir), steps, ["map", run_dir.name], listener)
        with open_run(run_dir) as run:
            measured = run.info.provenance.get("measured")

        def draw() -> None:
            tables, meta = map_tables(writer)
            if measured:  # what was measured before still holds
                meta["measured"] = measured
            writer.write("map", tables, meta, [("DELETE FROM layout", [])])

        return progress, lambda: run_blocks(writer, progress, "map", {"map": draw}, progress.advance)

    fingerprint = hashlib.sha256(json.dumps([made["fingerprint"], "map", MAP_REVISION]).encode()).hexdigest()
    add_to_run(run_dir, fingerprint, lambda made: bool(made.get("map")), begin)


def add_to_run(run_dir: Path, fingerprint: str, is_done: Callable[[Mapping[str, Any]], bool], begin: Begin) -> None:
    """Begins work on a published run, or goes on with it, and publishes; does nothing where it is done."""
    files = RunFiles(run_dir)
    with open_run(run_dir) as run:
        info = run.info
    if is_done(info.provenance) and not files.build.exists():
        return
    shape = Shape(info.n_train, len(info.class_names), max(1, info.proj_dim))
    with build_lock(files):
        is_begun, progress = files.working_evidence.exists(), None
        with open_run(run_dir) as run:
            # By the process that held the lock before, or by one that was stopped while tidying up.
            now_done = is_done(run.info.provenance)
        if now_done and not is_begun:
            clear_site(files)
            return
        try:
            with StoreWriter(files, shape, fingerprint, adds_to_published=True) as writer:
                progress, work = begin(writer)
                work()
                writer.publish()
                writer.finish()
        except BaseException as error:
            if progress is not None:
                progress.fail(error)
            elif not is_begun:  # else what is there goes on by its own command
                clear_site(files)
            raise
