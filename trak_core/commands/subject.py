"""Building from a Python file that defines a subject of somebody's own, and naming that file to other commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trak_core.commands.build_options import budget_options, option, say_sizes, seed_and_device
from trak_core.commands.once import Command
from trak_core.commands.terminal import clear_errors, progress_bar, say_complete
from trak_core.folders import runs_dir
from trak_core.store.catalog import find_run
from trak_core.store.run import open_run
from trak_core.subjects import read_subject_file
from trak_core.subjects.of_run import use_subject

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def subject_command(path: str) -> click.Command:
    """The command `build FILE.py`."""
    return Command(
        path,
        callback=lambda **options: _build(Path(path), **options),
        help=f"From the subject that {path} defines as `subject`, or as the function `subject()`.\n\nTries it, then "
        "trains, attributes and measures as much as the minutes pay for. Can be stopped, and the same command goes on.",
        params=[
            option("--name", "Name of the run.  [that of the subject]"),
            *seed_and_device(),
            *budget_options(),
            option("--evidence", "Then measure every method, in as many minutes again.", is_flag=True),
        ],
    )


def _build(path: Path, name: str | None, evidence: bool, **options: Any) -> None:
    with clear_errors():
        from trak_core.engine import measure_run  # torch: a build pays for it
        from trak_core.engine.budget import BuildRequest
        from trak_core.engine.doors import settings_of
        from trak_core.engine.subject_build import build_subject

        subject = read_subject_file(path)
        with progress_bar() as show:
            run_dir = build_subject(
                subject,
                name or subject.name or path.stem,
                BuildRequest(**options),
                runs_dir(),
                on_sizes=say_sizes,
                on_note=lambda note: click.echo(f"Note: {note}", err=True),
                listener=show,
            )
        if evidence:
            with progress_bar() as show:
                measure_run(run_dir, settings_of(run_dir, options["minutes"]), show)
        say_complete(run_dir)


def subject_option(command: Decorated) -> Decorated:
    """Adds `--subject FILE` to a command that needs the subject of a run."""
    text = "Python file of the subject that RUN was built from; it is run.  [the one that RUN names, if unchanged]"
    return click.option("--subject", type=click.Path(path_type=Path), help=text)(command)


def run_with_subject(run: str, subject: Path | None) -> Path:
    """The directory of a run, which finds the subject of the file that somebody named, if any."""
    run_dir = find_run(run)
    if subject is not None:
        read = read_subject_file(subject)
        with open_run(run_dir) as opened:
            use_subject(opened, read)
    return run_dir
