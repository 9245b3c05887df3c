"""Commands that give a run to others and take one from them: as one file, as tables, or from scores made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trak_core.commands.build_options import option
from trak_core.commands.custom_data import custom_data, reading_options
from trak_core.commands.once import Command
from trak_core.commands.terminal import BEGINS_AGAIN, LOOK_AT_IT, clear_errors, reading_bar
from trak_core.datasets.kinds import DATA_KINDS, DataKind
from trak_core.exchange.exporting import EXPORTS, Export, export_table
from trak_core.exchange.score_files import ORIENTATIONS
from trak_core.exchange.signs import SIGNS
from trak_core.folders import runs_dir
from trak_core.store.archive import export_run, import_run
from trak_core.store.catalog import find_run
from trak_core.store.run import open_run

if TYPE_CHECKING:
    from trak_core.exchange.importing import Imported
    from trak_core.modalities import RawData


@click.group(name="import-scores")
@click.argument("scores", type=click.Path(path_type=Path))
@click.pass_context
def import_scores_command(context: click.Context, scores: Path) -> None:
    """Make a run of SCORES that another program made, with the examples that were scored.

    SCORES is a .npy, .npz, .safetensors, .pt, .parquet or .csv file, or a folder that traker or kronfluence saved to.
    The examples are read as `check` reads them.
    """
    context.obj = scores


def _import_command(kind: DataKind) -> click.Command:
    sign = "What to do where negative scores help: refuse, keep, or turn them round."
    predictions = "Probabilities [n_test, n_classes] of the model, as a file like SCORES."
    return Command(
        kind.name,
        callback=lambda **options: _import(click.get_current_context().obj, kind, **options),
        help=f"Examples: {kind.holds}.",
        params=[
            *reading_options(kind),
            option("--seed", "Of the draw of test examples.", type=int, default=0),
            option("--name", "Name of the run.", required=True),
            option("--title", "Name of the data, for people.  [that of the folder or file]"),
            option("--method", "Name of the scores.  [that of the library]"),
            option("--library", "That made the scores: traker, dattri, kronfluence, captum, ..."),
            option("--key", "Which matrix, where SCORES holds several."),
            option("--orientation", "Rows by columns.  [by the counts]", type=click.Choice(ORIENTATIONS)),
            option("--sign", sign, type=click.Choice(SIGNS), default="check"),
            option("--predictions", predictions, type=click.Path(path_type=Path)),
        ],
    )


for _kind in DATA_KINDS.values():
    import_scores_command.add_command(_import_command(_kind))


def _import(scores: Path, kind: DataKind, seed: int, **options: Any) -> None:
    with clear_errors(BEGINS_AGAIN):
        from trak_core.exchange.importing import import_scores

        source = custom_data(kind, options, seed)
        with reading_bar("reading") as show:
            raw = source.read(show)
        with reading_bar("importing") as show:
            imported = import_scores(scores, raw, on_progress=show, **options)
        click.echo(_said(imported, raw))


def _said(imported: Imported, raw: RawData) -> str:
    """What was imported, and what was decided on the way."""
    lines = [
        f"Run {imported.path.name!r} is there: {imported.path}",
        f"{imported.n_test:,} test x {imported.n_train:,} train scores of {imported.method!r}, {imported.orientation}.",
        imported.sign_check.sentence,
    ]
    if imported.is_reversed:
        lines.append("The sign of every score was turned round, as you said.")
    lines += [*imported.decided, *raw.notes]
    if raw.skipped:
        lines.append(
            f"{len(raw.skipped):,} examples were skipped ({raw.skipped[0].where}: {raw.skipped[0].why}); the "
            "scores must be those without them."
        )
    return "\n".join([*lines, LOOK_AT_IT])


@click.command(name="export-table", cls=Command)
@click.argument("run")
@click.argument("what", type=click.Choice(EXPORTS))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--method", "methods", multiple=True, help="Of this method only; may be repeated. All by default.")
@click.option("--k", type=int, default=20, show_default=True, help="Train examples on each side, for `top`.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def export_table_command(run: str, what: Export, file: Path, methods: tuple[str, ...], k: int, force: bool) -> None:
    """Write a table of RUN (a name or a path) to FILE (.parquet, .csv or .json).

    WHAT is scores (a row for each test and train example), top (the strongest on both sides, with labels and ranks),
    suspects (train examples whose labels look wrong, by every signal) or verdicts (what stands of the label review).
    """
    with clear_errors(BEGINS_AGAIN), open_run(find_run(run)) as opened:
        n_rows = export_table(opened, what, file, methods=methods, k=k, overwrite=force)
        click.echo(f"{n_rows:,} rows are in {file} ({file.stat().st_size / 1e6:,.1f} MB).")


@click.command(cls=Command)
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def export(run: str, file: Path, force: bool) -> None:
    """Write RUN (a name or a path), reviews included, as one FILE that `import` opens anywhere."""
    with clear_errors(BEGINS_AGAIN):
        run_dir = find_run(run)
        export_run(run_dir, file, force)
        click.echo(f"Run {run_dir.name!r} is in {file} ({file.stat().st_size / 1e6:,.1f} MB).")


@click.command(name="import", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the run; the one that it was exported under by default.")
@click.option("--max-gb", type=float, help="The most that FILE may unpack to, in GB; 20 times its size by default.")
def import_command(file: Path, name: str | None, max_gb: float | None) -> None:
    """Add the run in FILE, which `export` wrote, to the directory of runs, after checking all of it."""
    with clear_errors(BEGINS_AGAIN):
        run_dir = import_run(file, runs_dir(), name, None if max_gb is None else round(max_gb * 1e9))
        click.echo(f"Run {run_dir.name!r} is there: {run_dir}\n{LOOK_AT_IT}")
