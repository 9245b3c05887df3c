"""Draws the map of a run that has none: one that was saved from Python, say. Needs nothing but its store."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from trak_core.engine.build import report_end
from trak_core.engine.map_step import map_tables
from trak_core.engine.progress import ProgressReporter, Step, run_blocks
from trak_core.errors import NotInRunError
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildStatus
from trak_core.store.run import open_run
from trak_core.store.schema import Shape
from trak_core.store.writer import StoreWriter, build_lock, clear_site

REVISION = 1
"""Raise it with any change of the code that moves the points."""


def map_run(run_dir: Path, listener: Callable[[BuildStatus], None] = lambda status: None) -> None:
    """Adds the map to a run, and publishes; does nothing when it is there.

    Args:
        run_dir: of a finished run.
        listener: called with the status whenever it changes.

    Raises:
        NotInRunError: the build of the run is not finished; it draws the map itself. Or the run holds no features.
        RunBusyError: another process is building or measuring this run.
        RunMismatchError: its methods are being measured, and that was stopped.
        StorageError: the disk is full, read-only or failing.
    """
    files = RunFiles(run_dir)
    with open_run(run_dir) as run:
        made, has_features = run.info.provenance, run.info.proj_dim > 0
        shape = Shape(run.info.n_train, len(run.info.class_names), max(1, run.info.proj_dim))
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
    if made.get("map") and not files.build.exists():
        return
    fingerprint = hashlib.sha256(json.dumps([made["fingerprint"], "map", REVISION]).encode()).hexdigest()
    with build_lock(files):
        is_begun, progress = files.working_evidence.exists(), None
        with open_run(run_dir) as run:
            # By the process that held the lock before, or by one that was stopped while tidying up.
            made = run.info.provenance
        if made.get("map") and not is_begun:
            clear_site(files)
            return
        try:
            with StoreWriter(files, shape, fingerprint, adds_to_published=True) as writer:
                steps = [Step("map", "drawing the map", 1, 10.0, False)]
                progress = ProgressReporter(files, steps, ["map", run_dir.name], listener)

                def draw() -> None:
                    tables, meta = map_tables(writer)
                    if "measured" in made:  # what was measured before still holds
                        meta["measured"] = made["measured"]
                    writer.write("map", tables, meta, [("DELETE FROM layout", [])])

                run_blocks(writer, progress, "map", {"map": draw}, progress.advance)
                writer.publish()
                writer.finish()
        except BaseException as error:
            if progress is not None:
                report_end(progress, error)
            elif not is_begun:  # else what is there goes on by its own command
                clear_site(files)
            raise
