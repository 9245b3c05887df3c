"""Commands that judge scores of any origin by retrained models, and that take in what such models said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trak_core.commands.terminal import BEGINS_AGAIN, LOOK_AT_IT, clear_errors, number
from trak_core.exchange.score_files import ORIENTATIONS
from trak_core.exchange.signs import SIGNS
from trak_core.store.catalog import find_run
from trak_core.store.run import open_run
from trak_core.views.evidence import board_text

if TYPE_CHECKING:
    from trak_core.exchange.evaluating import Evaluated


@click.command(name="evaluate")
@click.argument("run")
@click.argument("scores", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the scores among the methods of RUN.")
@click.option("--replace", "replaces", is_flag=True, help="Replace scores of that name that were judged before.")
@click.option("--library", help="That made the scores: traker, dattri, kronfluence, captum, ...")
@click.option("--key", help="Which matrix, where SCORES holds several.")
@click.option("--orientation", type=click.Choice(ORIENTATIONS), help="Rows by columns.  [by the counts]")
@click.option(
    "--sign",
    type=click.Choice(SIGNS),
    default="check",
    show_default=True,
    help="What to do where negative scores help: refuse, keep, or turn them round.",
)
def evaluate_command(run: str, scores: Path, **options: Any) -> None:
    """Judge SCORES that another program made by the retrained models of RUN (a name or a path), and print the board.

    SCORES is a .npy, .npz, .safetensors, .pt, .parquet or .csv file, or a folder that traker or kronfluence saved to,
    of all test and train examples of RUN in their order. They join the run beside its methods, with the same measures,
    intervals and controls.
    """
    with clear_errors(BEGINS_AGAIN):
        from trak_core.exchange.evaluating import evaluate

        found = evaluate(find_run(run), scores, **options)
        with open_run(found.path) as opened:
            click.echo(board_text(opened))
        click.echo(_said(found))


def _said(found: Evaluated) -> str:
    """How the scores did, and what was decided on the way."""
    lds = found.lds
    lines = [
        "",
        f"{found.method!r}: LDS {number(lds.mean)} ({number(lds.ci_low)} to {number(lds.ci_high)}), "
        f"noise ceiling {number(lds.noise_ceiling)}, over {lds.n_subsets} subsets with {lds.n_seeds} models each.",
    ]
    if lds.fixed == lds.fixed:  # NaN where it is not measured
        lines.append(
            f"At fixed class counts: {number(lds.fixed)} ({number(lds.fixed_low)} to {number(lds.fixed_high)}), "
            f"noise ceiling {number(lds.fixed_ceiling)}."
        )
    if found.beats_controls is not None:
        lines.append(f"It {'beats' if found.beats_controls else 'does not beat'} the controls.")
    lines.append(found.sign_check.sentence)
    if found.is_reversed:
        lines.append("The sign of every score was turned round, as you said.")
    return "\n".join([*lines, *found.decided, LOOK_AT_IT])


@click.command(name="add-outcomes")
@click.argument("run")
@click.argument("masks", type=click.Path(path_type=Path))
@click.argument("outcomes", type=click.Path(path_type=Path))
@click.option("--key", help="Which array of outcomes, where the file holds several.")
def add_outcomes_command(run: str, masks: Path, outcomes: Path, key: str | None) -> None:
    """Give RUN (a name or a path), which has no retrained models, what models said that were retrained elsewhere.

    MASKS is a .npy or .npz file of bool [n_subsets, n_train]: which train examples each model was trained on. OUTCOMES
    is one of numbers [n_subsets, n_test] or [n_subsets, n_seeds, n_test]: the model outputs of the test examples. All
    scores of RUN are then measured by them, and `evaluate` takes others.
    """
    with clear_errors(BEGINS_AGAIN):
        from trak_core.exchange.outcomes import add_outcomes

        found = add_outcomes(find_run(run), masks, outcomes, key=key)
        with open_run(found.path) as opened:
            click.echo(board_text(opened))
        click.echo(LOOK_AT_IT)
