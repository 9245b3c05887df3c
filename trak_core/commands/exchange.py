"""Commands that take in scores made elsewhere and give out tables for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from trak_core.commands.custom_data import custom_data, reading_options
from trak_core.commands.terminal import BEGINS_AGAIN, LOOK_AT_IT, clear_errors
from trak_core.datasets.kinds import DATA_KINDS, DataKind
from trak_core.exchange.exporting import EXPORTS, Export, export_table
from trak_core.exchange.score_files import ORIENTATIONS
from trak_core.exchange.signs import SIGNS
from trak_core.stopping import stop_when_asked
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

    SCORES is a .npy, .npz, .safetensors, .pt or .parquet file, or a folder that traker or kronfluence saved to. The
    examples are read as `check` reads them.
    """
    context.obj = scores


def _import_command(kind: DataKind) -> click.Command:
    def callback(**options: Any) -> None:
        _import(click.get_current_context().obj, kind, **options)

    return click.Command(
        kind.name,
        callback=callback,
        help=f"Examples: {kind.holds}.",
        params=[
            *reading_options(kind),
            click.Option(["--seed"], type=int, default=0, show_default=True, help="Of the draw of test examples."),
            click.Option(["--name"], required=True, help="Name of the run."),
            click.Option(["--title"], help="Name of the data, for people.  [that of the folder or file]"),
            click.Option(["--method"], help="Name of the scores.  [that of the library]"),
            click.Option(["--library"], help="That made the scores: traker, dattri, kronfluence, captum, ..."),
            click.Option(["--key"], help="Which matrix, where SCORES holds several."),
            click.Option(["--orientation"], type=click.Choice(ORIENTATIONS), help="Rows by columns.  [by the counts]"),
            click.Option(
                ["--sign"],
                type=click.Choice(SIGNS),
                default="check",
                show_default=True,
                help="What to do where negative scores help: refuse, keep, or turn them round.",
            ),
            click.Option(
                ["--predictions"],
                type=click.Path(path_type=Path),
                help="Probabilities [n_test, n_classes] of the model, as a file like SCORES.",
            ),
        ],
    )


for _kind in DATA_KINDS.values():
    import_scores_command.add_command(_import_command(_kind))


def _import(scores: Path, kind: DataKind, seed: int, **options: Any) -> None:
    stop_when_asked()
    with clear_errors(BEGINS_AGAIN):
        from trak_core.exchange.importing import import_scores

        source = custom_data(kind, options, seed)
        with tqdm(total=1000, bar_format="{l_bar}{bar}| {elapsed}", disable=None, leave=False) as bar:

            def show(n_done: int, n_steps: int) -> None:
                bar.update(1000 * n_done / max(n_steps, 1) - bar.n)

            bar.set_description_str("reading")
            raw = source.read(show)
            bar.reset()
            bar.set_description_str("importing")
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
    if imported.n_empty:
        lines.append(f"{imported.n_empty:,} test examples have scores that are all 0: they may not have been scored.")
    lines += raw.notes
    if raw.skipped:
        lines.append(
            f"{len(raw.skipped):,} examples were left out ({raw.skipped[0].where}: {raw.skipped[0].why}); the "
            "scores must be those without them."
        )
    return "\n".join([*lines, LOOK_AT_IT])


@click.command(name="export-table")
@click.argument("run")
@click.argument("what", type=click.Choice(EXPORTS))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--method", "methods", multiple=True, help="Of this method only; may be repeated. All by default.")
@click.option("--k", type=int, default=20, show_default=True, help="Train examples on each side, for `top`.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def export_table_command(run: str, what: Export, file: Path, methods: tuple[str, ...], k: int, force: bool) -> None:
    """Write a table of RUN (a name or a path) to FILE (.parquet, .csv or .json).

    WHAT is scores (a row for each test and train example), top (the strongest on both sides, with labels and ranks) or
    verdicts (what stands of the label review).
    """
    stop_when_asked()
    with clear_errors(BEGINS_AGAIN), open_run(find_run(run)) as opened:
        n_rows = export_table(opened, what, file, methods=methods, k=k, overwrite=force)
        click.echo(f"{n_rows:,} rows are in {file} ({file.stat().st_size / 1e6:,.1f} MB).")
