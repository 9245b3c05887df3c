"""A build from start to end: locks the run, goes on where an earlier build stopped, and publishes along the way.

First suspects, then scores, the map, and evidence.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trak_core.engine.budget import BuildPlan
from trak_core.engine.clock import Clock
from trak_core.engine.pace import DIGITS_PACE, Pace
from trak_core.engine.progress import ProgressReporter, Step
from trak_core.engine.settings import BuildSettings
from trak_core.engine.steps import FROM_THE_LEDGER, BuildSteps, n_first_models
from trak_core.engine.subject import load_subject
from trak_core.errors import RunMismatchError
from trak_core.modalities import encoding_metadata
from trak_core.store.catalog import check_run_name
from trak_core.store.differences import what_differs
from trak_core.store.files import RunFiles
from trak_core.store.local_paths import keep_local_paths
from trak_core.store.progress import BuildStatus
from trak_core.store.run import open_run
from trak_core.store.schema import Shape
from trak_core.store.writer import StoreWriter, build_lock, clear_site
from trak_core.subjects import Recipe, find_recipe


def build_run(
    settings: BuildSettings,
    name: str,
    runs_dir: Path,
    listener: Callable[[BuildStatus], None] = lambda status: None,
    command: list[str] | None = None,
    recipe: Recipe | None = None,
    plan: BuildPlan | None = None,
    replaces: str = "",
    clock: Clock | None = None,
    on_begin: Callable[[], None] = lambda: None,
) -> Path:
    """Builds a run, or finishes it, or finds it finished; returns its directory.

    Args:
        settings: of the build.
        name: of the run.
        runs_dir: the directory of all runs; made if missing.
        listener: called with the status whenever it changes.
        command: the arguments of `python -m trak_core` that go on with it, where they say more than the settings.
        recipe: what is built; None for the one that the settings name.
        plan: written down when the build begins, for the command to go on with; its cost model predicts the time left.
        replaces: fingerprint of a run that may be there under this name, and gives way.
        clock: tells how long it may take; None for as long as it takes.
        on_begin: called once nothing that is there stands against the build.

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
    fingerprint, facts = settings.fingerprint(subject), settings.facts(subject)
    paths = {**recipe.metadata, "model": settings.model, "encoding": encoding_metadata(subject.dataset.encoding)}
    if _is_complete(files, fingerprint, replaces, facts) and (
        not files.build.exists() or files.working_evidence.exists()
    ):
        on_begin()
        keep_local_paths(files, paths)  # they may have moved
        return run_dir  # an unfinished measurement of its methods goes on by its own command
    with build_lock(files):
        if _is_complete(files, fingerprint, replaces, facts):
            on_begin()
            # Finished by the process that held the lock before, or by one that was killed while tidying up.
            if not files.working_evidence.exists():  # else its methods are being measured, and that goes on
                clear_site(files)
            return run_dir
        shape = Shape(len(subject.dataset.train), len(subject.dataset.class_names), settings.proj_dim)
        if plan is not None and not files.working_store.exists():
            plan.write(files)
        # A working store with other settings is refused here, before anything is said about its build.
        with StoreWriter(files, shape, fingerprint, facts=facts) as writer:
            on_begin()
            keep_local_paths(files, paths)
            metadata = {"title": recipe.title, **recipe.metadata}
            command = settings.command(name) if command is None else command
            pace, clock = DIGITS_PACE if plan is None else plan.pace, clock or Clock()
            steps = build_steps(settings, pace, n_first_models(settings, subject), clock.left)
            progress = ProgressReporter(files, steps, command, listener, clock)
            try:
                BuildSteps(settings, subject, files, writer, planted, metadata, progress, clock, pace).run()
            except BaseException as error:
                progress.fail(error)
                raise
    return run_dir


def _is_complete(files: RunFiles, fingerprint: str, replaces: str, facts: Mapping[str, Any]) -> bool:
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
                f"run {files.run_dir.name!r} is there already with other settings or data "
                f"({what_differs(made.get, facts) or told}); build under another name, or delete {files.run_dir} first."
            )
        return bool(run.info.provenance.get("complete"))


def build_steps(
    settings: BuildSettings, pace: Pace, n_first: int, seconds: float = math.inf, is_built: bool = False
) -> list[Step]:
    """The steps of a build with the seconds that they take at some pace.

    Args:
        settings: of the build.
        pace: what parts of it take.
        n_first: checkpoints that are trained, or taken, before all else.
        seconds: that the build may take; what is left of them is evidence.
        is_built: whether there are scores already, so that only evidence is added.
    """
    n_checkpoints, a_subset = settings.n_checkpoints, settings.n_seeds * pace.half_model
    n_fit = min(settings.n_fit, settings.n_subsets) if settings.n_seeds else 0
    n_more = n_checkpoints - n_first
    made = [
        Step("data", "reading the data", 1, pace.data, True),
        Step(
            "model",
            "training a model" if n_first == 1 else f"training {n_first} checkpoints",
            n_first,
            pace.model * n_first,
            True,
        ),
        Step("suspects", "looking for wrong labels", 1, pace.labels, True),
        Step("checkpoints", f"training {n_checkpoints} checkpoints", n_more, pace.model * n_more, True),
        Step("features", "computing gradients", n_checkpoints, pace.features * n_checkpoints, True),
    ]
    scored = [
        Step("fit", "retraining on the first random halves", n_fit, n_fit * a_subset, True),
        Step("ridge", "choosing the ridge", n_checkpoints, pace.ridge * n_checkpoints, True),
        Step("scores", "scoring", n_checkpoints, pace.scores * n_checkpoints, True),
        Step("signals", "comparing labels with scores", 1, 0.1),
        Step("map", "drawing the map", 1, pace.map),
    ]
    steps = [*([] if is_built else made), *scored]
    left = max(0.0, seconds - sum(step.seconds for step in steps) - pace.lds)
    n_eval = settings.n_subsets - n_fit
    if n_eval and math.isfinite(left):
        n_eval = max(1, min(n_eval, int(left / max(a_subset, 1e-6))))
    steps.append(Step("eval", "retraining models on random halves", n_eval, n_eval * a_subset))
    steps.append(Step("lds", "measuring the evidence", 1, pace.lds))
    return [step for step in steps if step.units and (settings.n_seeds or step.name not in FROM_THE_LEDGER)]
