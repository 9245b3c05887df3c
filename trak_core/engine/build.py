"""A build from start to end: locks the run, goes on where an earlier build stopped, and publishes twice.

First the scores, so that the run can be browsed; later the same run with its evidence.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from trak_core.engine.budget import BuildPlan
from trak_core.engine.build_plan import plan
from trak_core.engine.pace import DIGITS_PACE, Pace
from trak_core.engine.progress import ProgressReporter
from trak_core.engine.settings import BuildSettings
from trak_core.engine.steps import BuildSteps
from trak_core.engine.subject import load_subject
from trak_core.errors import RunMismatchError, StorageError, TrakCoreError
from trak_core.modalities import encoding_metadata
from trak_core.stopping import is_stop
from trak_core.store.catalog import check_run_name
from trak_core.store.files import RunFiles
from trak_core.store.local_paths import keep_local_paths
from trak_core.store.progress import BuildStatus
from trak_core.store.run import open_run
from trak_core.store.schema import Shape
from trak_core.store.writer import StoreWriter, build_lock, clear_site
from trak_core.subjects import Recipe, find_recipe

logger = logging.getLogger(__name__)


def build_run(
    settings: BuildSettings,
    name: str,
    runs_dir: Path,
    listener: Callable[[BuildStatus], None] = lambda status: None,
    command: list[str] | None = None,
    recipe: Recipe | None = None,
    pace: Pace = DIGITS_PACE,
    plan_to_keep: BuildPlan | None = None,
    replaces: str = "",
) -> Path:
    """Builds a run, or finishes it, or finds it finished; returns its directory.

    Args:
        settings: of the build.
        name: of the run.
        runs_dir: the directory of all runs; made if missing.
        listener: called with the status whenever it changes.
        command: the arguments of `python -m trak_core` that go on with it, where they say more than the settings.
        recipe: what is built; None for the one that the settings name.
        pace: what its steps take, to predict the time left.
        plan_to_keep: written down when the build begins, for the command to go on with.
        replaces: fingerprint of a run that may be there under this name, and gives way.

    Raises:
        InvalidSettingError: the name or a setting cannot work.
        RunBusyError: another process is building this run.
        RunMismatchError: the run is there with other settings or data.
        StorageError: the disk is full, read-only or failing.
        StoreDamagedError: what is there cannot be read; nothing is overwritten.
    """
    run_dir = runs_dir / check_run_name(name)
    files = RunFiles(run_dir)
    recipe = recipe or find_recipe(settings.recipe)
    subject, planted = load_subject(settings, recipe)
    fingerprint = settings.fingerprint(subject)
    paths = {
        **recipe.metadata,
        "model": settings.model,
        "encoding": encoding_metadata(subject.dataset.encoding),
    }
    if _is_complete(files, fingerprint, replaces) and (not files.build.exists() or files.working_evidence.exists()):
        keep_local_paths(files, paths)  # they may have moved
        return run_dir  # an unfinished measurement of its methods goes on by its own command
    with build_lock(files):
        if _is_complete(files, fingerprint, replaces):
            # Finished by the process that held the lock before, or by one that was killed while tidying up.
            if not files.working_evidence.exists():  # else its methods are being measured, and that goes on
                clear_site(files)
            return run_dir
        shape = Shape(len(subject.dataset.train), len(subject.dataset.class_names), settings.proj_dim)
        if plan_to_keep is not None and not files.working_store.exists():
            plan_to_keep.write(files)
        # A working store with other settings is refused here, before anything is said about its build.
        with StoreWriter(files, shape, fingerprint) as writer:
            keep_local_paths(files, paths)
            metadata = {"title": recipe.title, **recipe.metadata}
            command = settings.command(name) if command is None else command
            progress = ProgressReporter(files, plan(settings, pace), command, listener)
            try:
                BuildSteps(settings, subject, planted, metadata, files, writer, progress).run()
            except BaseException as error:
                report_end(progress, error)
                raise
    return run_dir


def _is_complete(files: RunFiles, fingerprint: str, replaces: str) -> bool:
    """True when the published run is whole and has these settings; an error when it has others."""
    if not files.store.exists():
        return False
    with open_run(files.run_dir) as run:
        if run.info.provenance["fingerprint"] == replaces:
            return False
        if run.info.provenance["fingerprint"] != fingerprint:
            made = run.info.provenance
            told = ", ".join(f"{name} {made[name]}" for name in ("recipe", "seed", "device") if name in made)
            raise RunMismatchError(
                f"run {files.run_dir.name!r} is there already with other settings or data ({told}); build under "
                f"another --name, or delete {files.run_dir} first."
            )
        return bool(run.info.provenance.get("complete"))


def report_end(progress: ProgressReporter, error: BaseException) -> None:
    """Leaves word of how a build or a measurement ended."""
    try:
        if is_stop(error):
            progress.end("stopped")
        else:
            message = str(error) if isinstance(error, TrakCoreError) else f"{type(error).__name__}: {error}"
            progress.end("failed", message)
    except StorageError as failure:
        # On a full disk the status cannot be written either; the error itself is already on its way up.
        logger.warning("%s", failure)
