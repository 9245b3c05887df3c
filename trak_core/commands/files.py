"""Commands that turn a run into one file and back."""

from pathlib import Path

import click

from trak_core.commands.terminal import BEGINS_AGAIN, LOOK_AT_IT, clear_errors
from trak_core.folders import runs_dir
from trak_core.stopping import stop_when_asked
from trak_core.store.archive import export_run, import_run
from trak_core.store.catalog import find_run


@click.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def export(run: str, file: Path, force: bool) -> None:
    """Write RUN (a name or a path), reviews included, as one FILE that `import` opens anywhere."""
    stop_when_asked()
    with clear_errors(BEGINS_AGAIN):
        run_dir = find_run(run)
        export_run(run_dir, file, force)
        click.echo(f"Run {run_dir.name!r} is in {file} ({file.stat().st_size / 1e6:,.1f} MB).")


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the run; the one that it was exported under by default.")
@click.option("--max-gb", type=float, help="The most that FILE may unpack to, in GB; 20 times its size by default.")
def import_command(file: Path, name: str | None, max_gb: float | None) -> None:
    """Add the run in FILE, which `export` wrote, to the directory of runs, after checking all of it."""
    stop_when_asked()
    with clear_errors(BEGINS_AGAIN):
        run_dir = import_run(file, runs_dir(), name, None if max_gb is None else round(max_gb * 1e9))
        click.echo(f"Run {run_dir.name!r} is there: {run_dir}\n{LOOK_AT_IT}")
