"""Building from a Python file that defines a subject of somebody's own, and naming that file to other commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trak_core.commands.build_options import seed_and_device, size_options
from trak_core.commands.terminal import clear_errors, progress_bar, say_complete
from trak_core.folders import runs_dir
from trak_core.stopping import stop_when_asked
from trak_core.store.run import open_run
from trak_core.subjects import read_subject_file
from trak_core.subjects.of_run import use_subject

if TYPE_CHECKING:
    from trak_core.engine.budget import Sizes

Command = TypeVar("Command", bound=Callable[..., Any])


def subject_command(path: str) -> click.Command:
    """The command `build FILE.py`."""
    return click.Command(
        path,
        callback=lambda **options: _build(Path(path), **options),
        help=f"From the subject that {path} defines as `subject`, or as the function `subject()`.\n\nTries it, then "
        "trains, attributes and measures as much as the minutes pay for. Can be stopped, and the same command goes on.",
        params=[
            click.Option(["--name"], help="Name of the run.  [that of the subject]"),
            click.Option(
                ["--minutes"], type=float, default=10.0, show_default=True, help="That the whole build may take."
            ),
            *seed_and_device(),
            *size_options(),
            click.Option(["--evidence"], is_flag=True, help="Then measure every method, in as many minutes again."),
        ],
    )


def _build(path: Path, name: str | None, evidence: bool, **options: Any) -> None:
    stop_when_asked()
    with clear_errors():
        from trak_core.engine import measure_run  # torch: a build pays for it
        from trak_core.engine.doors import settings_of
        from trak_core.engine.subject_build import SubjectBuild, build_subject

        subject = read_subject_file(path)
        with progress_bar() as show:
            run_dir = build_subject(
                subject,
                name or subject.name or path.stem,
                SubjectBuild(**options),
                runs_dir(),
                on_sizes=_say_sizes,
                on_note=lambda note: click.echo(f"Note: {note}", err=True),
                listener=show,
            )
        if evidence:
            with progress_bar() as show:
                measure_run(run_dir, settings_of(run_dir, options["minutes"]), show)
        say_complete(run_dir)


def _say_sizes(sizes: Sizes) -> None:
    halves = f"{sizes.n_subsets} random halves with {sizes.n_seeds} models each" if sizes.n_subsets else "no retraining"
    click.echo(f"To be computed: {sizes.n_checkpoints} checkpoints, and {halves}.")


def subject_option(command: Command) -> Command:
    """Adds `--subject FILE` to a command that needs the subject of a run."""
    option = click.option(
        "--subject",
        type=click.Path(path_type=Path),
        help="Python file of the subject that RUN was built from; it is run.  [the one that RUN names, if unchanged]",
    )
    return option(command)


def read_subject(path: Path | None, run_dir: Path) -> None:
    """Reads the subject of a file that somebody named, so that the run which was built from it finds it."""
    if path is not None:
        subject = read_subject_file(path)
        with open_run(run_dir) as run:
            use_subject(run, subject)
