"""Measures every method of a finished run: its scores, its evidence and its cost, into the run itself.

Each piece of work is written when it is done and never done again; what is finished is published along the way.
"""

import time
from collections.abc import Callable
from pathlib import Path

from trak_core.engine.build import report_end
from trak_core.engine.measure_settings import MeasureSettings
from trak_core.engine.measure_steps import MeasureSteps, plan
from trak_core.engine.measurement import Measurement
from trak_core.engine.progress import ProgressReporter
from trak_core.engine.subject import read_build
from trak_core.errors import NotInRunError
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus
from trak_core.store.run import open_run
from trak_core.store.schema import Shape
from trak_core.store.writer import StoreWriter, build_lock, clear_site
from trak_core.subjects.of_run import can_be_made_again, why_no_subject


def measure_run(
    run_dir: Path,
    settings: MeasureSettings,
    listener: Callable[[BuildStatus], None] = lambda status: None,
) -> None:
    """Measures what is not measured yet.

    Args:
        run_dir: of a run that is built.
        settings: of the measurement.
        listener: called with the status whenever it changes.

    Raises:
        NotInRunError: data and model of the run cannot be had, or its build is not finished.
        InvalidSettingError: the run was built on a GPU, and there is none.
        RunMismatchError: the run was built by another version or from other data, or an unfinished measurement has
            other settings.
        RunBusyError: another process is building or measuring this run.
        NeedNotMetError: a method was asked for by name and cannot be had.
        StorageError: the disk is full, read-only or failing.
    """
    with open_run(run_dir) as run:
        reason, retrains = why_no_subject(run), can_be_made_again(run)
        is_projected = run.info.is_projected
        made, shape = run.info.provenance, Shape(run.info.n_train, len(run.info.class_names), max(1, run.info.proj_dim))
    if reason:
        raise NotInRunError(
            f"run {run_dir.name!r} {reason}. `python -m trak_core build RECIPE` makes a run that can be measured, and "
            "attributor.measure(...) measures one where it was saved."
        )
    if not retrains:
        settings = settings.without_retraining()
    if is_projected:
        raise NotInRunError(
            f"run {run_dir.name!r} has {shape.n_train:,} train examples, or a large model: its kernel is projected, "
            "and methods are compared by kernels of whole gradients. Build a run with --n-train 5000, or a smaller "
            "--model, to compare them."
        )
    if not made.get("complete"):
        data = " PATH ..." if made.get("model") else ""
        what = made.get("subject") or made["recipe"]
        raise NotInRunError(
            f"run {run_dir.name!r} is not finished; finish it first: "
            f"`python -m trak_core build {what}{data} --name {run_dir.name}`."
        )
    with open_run(run_dir) as run:
        build_settings, subject = read_build(run)
    fingerprint = settings.fingerprint(made["fingerprint"])
    files = RunFiles(run_dir)
    if made.get("measured") == fingerprint and not files.build.exists():
        return
    with build_lock(files):
        is_begun, progress = files.working_evidence.exists(), None
        with open_run(run_dir) as run:
            # By the process that held the lock before, or by one that was stopped while tidying up.
            is_done = run.info.provenance.get("measured") == fingerprint
        if is_done and not is_begun:
            clear_site(files)
            return
        try:
            with StoreWriter(files, shape, fingerprint, adds_to_published=True) as writer:
                steps = MeasureSteps(Measurement(settings, build_settings, subject, files, writer))
                steps.check_needs()
                progress = ProgressReporter(
                    files, plan(settings, steps.methods), settings.command(run_dir.name), listener
                )
                steps.run(progress, fingerprint, published_at=time.monotonic())
        except BaseException as error:
            if progress is not None:
                report_end(progress, error)
            elif not is_begun:  # else what is there goes on by its own command
                clear_site(files)
            raise
