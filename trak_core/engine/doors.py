"""`build` and `measure` from Python: the same engine as the command line has, for a subject of somebody's own."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from trak_core.engine.budget import BuildRequest
from trak_core.engine.growth import extend_run
from trak_core.engine.measure import measure_run
from trak_core.engine.measure_settings import MeasureSettings, measure_within
from trak_core.engine.subject_build import build_subject
from trak_core.errors import AttributionWarning, InvalidSettingError
from trak_core.folders import runs_dir as usual_runs_dir
from trak_core.methods import METHODS
from trak_core.store.catalog import find_run
from trak_core.store.progress import BuildStatus
from trak_core.store.run import Run, open_run
from trak_core.subjects import Subject
from trak_core.subjects.of_run import use_subject
from trak_core.training.loop_trainer import NOTES

USUAL_MINUTES = 20.0


def build(
    subject: Subject,
    name: str | None = None,
    minutes: float | None = None,
    *,
    n_checkpoints: int | None = None,
    n_subsets: int | None = None,
    n_seeds: int | None = None,
    seed: int = 0,
    device: str = "auto",
    runs_dir: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Builds a run from a subject, with checkpoints, retrained models, LDS, suspects and a map; returns its directory.

    What was stopped goes on when the same is called again, and what is finished is found.

    Args:
        subject: of your own.
        name: of the run; that of the subject by default.
        minutes: that it may take, ten by default. Scores, suspects and a map come in any case; evidence as far as the
            minutes go, and `extend` goes on from there.
        n_checkpoints: models trained on all train examples, in place of what the minutes pay for; so the next two.
        n_subsets: random halves to retrain on, however long that takes.
        n_seeds: models retrained on each half.
        seed: root of every random choice.
        device: "auto", "cpu" or "cuda".
        runs_dir: the directory of runs; where the explorer looks by default.
        progress: whether to show a progress bar.

    Raises:
        InvalidModelError, CheckpointMismatchError: the model or the training function cannot be used.
        InvalidSettingError: a setting cannot work.
        RunMismatchError: there is another run of that name.
        TrainingDivergedError: so much of training diverged that nothing can be measured.
        StorageError: the disk is full, read-only or failing.
    """
    if not isinstance(subject, Subject):
        raise InvalidSettingError(f"subject is a {type(subject).__name__}; give a trak_core.Subject.")
    sizes = {"n_checkpoints": n_checkpoints, "n_subsets": n_subsets, "n_seeds": n_seeds}
    asked = BuildRequest(minutes=10.0 if minutes is None else minutes, seed=seed, device=device, **sizes)
    where = usual_runs_dir() if runs_dir is None else Path(runs_dir)
    with progress_of(progress) as show:
        return build_subject(subject, name or subject.name, asked, where, on_note=warn_of, listener=show)


def measure(
    run: str | Path | Run,
    subject: Subject | None = None,
    *,
    minutes: float | None = None,
    methods: Sequence[str] | None = None,
    progress: bool = True,
) -> None:
    """Measures every method whose needs are met on a run: scores, LDS with its ceiling, removal.

    Args:
        run: its name, its directory, or the run itself.
        subject: that it was built from; needed where another process built it and it has no file here.
        minutes: that it may take, where models are trained one after another; 20 by default. Others take as long as
            `evidence` does.
        methods: names of methods; all by default.
        progress: whether to show a progress bar.

    Raises:
        NotInRunError: data and model of the run cannot be had, or its build is not finished.
        RunMismatchError: the run was built from another subject.
        NeedNotMetError: a method was asked for by name and cannot be had.
    """
    run_dir = run.path if isinstance(run, Run) else find_run(str(run))
    if subject is not None:
        with open_run(run_dir) as opened:
            use_subject(opened, subject)
    measure_methods(run_dir, settings_of(run_dir, minutes), methods, progress)


def extend(
    run: str | Path | Run,
    subject: Subject | None = None,
    *,
    minutes: float | None = None,
    n_subsets: int | None = None,
    progress: bool = True,
) -> None:
    """Retrains models of a run on more random halves, so that its evidence begins or gets surer.

    Args:
        run: its name, its directory, or the run itself; of own data or of an own subject.
        subject: that it was built from; needed where another process built it and it has no file here.
        minutes: that it may take.
        n_subsets: random halves that the run then has, in place of minutes.
        progress: whether to show a progress bar.

    Raises:
        InvalidSettingError: neither minutes nor a number is given, or both, or they cannot be.
        NotInRunError: data and model of the run cannot be had, its build is not finished, or it does not grow.
        RunMismatchError: the run was built from another subject.
    """
    run_dir = run.path if isinstance(run, Run) else find_run(str(run))
    if subject is not None:
        with open_run(run_dir) as opened:
            use_subject(opened, subject)
    with progress_of(progress) as show:
        extend_run(run_dir, minutes, n_subsets, show)


def measure_methods(
    run_dir: Path, settings: MeasureSettings, methods: Sequence[str] | None, show_progress: bool
) -> None:
    """Measures methods asked for by name in place of those of the settings, with a progress bar."""
    if methods is not None:
        settings = replace(settings, methods=tuple(methods))
    with progress_of(show_progress) as show:
        measure_run(run_dir, settings, show)


def settings_of(run_dir: Path, minutes: float | None) -> MeasureSettings:
    """What to measure of a run by default, or within some minutes."""
    with open_run(run_dir) as run:
        made = run.info.provenance
    by_a_loop = made.get("training", {}).get("by") == "train_model"
    if minutes is None and not by_a_loop:
        return MeasureSettings(methods=tuple(METHODS))
    return measure_within(60 * (minutes or USUAL_MINUTES), float(made.get("seconds_a_model") or 1.0))


def warn_of(note: str) -> None:
    """A Python warning of a note that changes what a run can say."""
    if note in NOTES:
        warnings.warn(note, AttributionWarning, stacklevel=4)


@contextmanager
def progress_of(is_shown: bool) -> Iterator[Callable[[BuildStatus], None]]:
    """A progress bar; the function that it gives takes the status of a build."""
    bar: Any
    with tqdm(total=1000, bar_format="{l_bar}{bar}| {elapsed}", disable=not is_shown, leave=False) as bar:

        def show(status: BuildStatus) -> None:
            bar.set_description_str(status.step, refresh=False)
            bar.update(1000 * status.fraction - bar.n)

        yield show
