"""Commands that build runs and measure them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trak_core.commands.build_options import option, planting_options, seed_and_device
from trak_core.commands.custom_data import build_commands
from trak_core.commands.once import Command
from trak_core.commands.subject import run_with_subject, subject_command, subject_option
from trak_core.commands.terminal import LOOK_AT_IT, clear_errors, progress_bar, say_complete
from trak_core.errors import UnknownRecipeError
from trak_core.folders import runs_dir
from trak_core.store.catalog import find_run
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES, Recipe, find_recipe
from trak_core.views.evidence import board_text


class BuildGroup(click.Group):
    """`build`: one subcommand a recipe, made from the registry, and one a kind of own data."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all recipes and kinds of own data."""
        return [*RECIPES, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """The command that builds one of them; an unknown name is one clear line."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if cmd_name.endswith(".py"):
            return subject_command(cmd_name)
        with clear_errors():
            try:
                return _build_command(find_recipe(cmd_name))
            except UnknownRecipeError as error:
                raise UnknownRecipeError(
                    f"{error} Your own data come as: {', '.join(self.commands)}; your own subject as a Python file."
                ) from error


@click.group(cls=BuildGroup, commands=build_commands())
def build() -> None:
    """Build a run from a recipe, your own data or your own subject (FILE.py), or go on with one that was stopped."""


def _build_command(recipe: Recipe) -> click.Command:
    subsets = "Random halves to retrain on; the first fifth is for fitting."
    return Command(
        recipe.name,
        callback=lambda **options: _build(recipe, **options),
        help=f"{recipe.title}: {recipe.description}",
        params=[
            option("--name", "Name of the run.", default=recipe.name),
            *seed_and_device(),
            option("--n-checkpoints", "Models that attribution averages over.", type=int, default=recipe.n_checkpoints),
            option("--proj-dim", "Dimension of the stored features.", type=int, default=recipe.proj_dim),
            option("--n-subsets", subsets, type=int, default=recipe.n_subsets),
            option("--n-seeds", "Models retrained on each half.", type=int, default=recipe.n_seeds),
            *planting_options(),
            option("--evidence", "Then measure every method, as `evidence` does.", is_flag=True),
        ],
    )


def _build(recipe: Recipe, name: str, evidence: bool, **chosen: Any) -> None:
    with clear_errors():
        # torch: a build pays for it
        from trak_core.engine import BuildSettings, MeasureSettings, build_run, measure_run

        settings = BuildSettings.of(recipe, **chosen)
        command = [*settings.command(name), *(["--evidence"] if evidence else [])]
        with progress_bar() as show:
            run_dir = build_run(settings, name, runs_dir(), show, command)
        if evidence:
            with progress_bar() as show:
                measure_run(run_dir, MeasureSettings(n_removal_tests=recipe.n_removal_tests), show)
        say_complete(run_dir)


@click.command(cls=Command)
@click.argument("run")
@click.option("--method", "methods", multiple=True, help="Measure this method only; may be repeated. All by default.")
@click.option("--removal-tests", "n_removal_tests", type=int, help="Test examples to measure removal on; 0 for none.")
@click.option("--removal-size", "removal_sizes", type=int, multiple=True, help="How many to remove; may be repeated.")
@click.option("--removal-seeds", "n_removal_seeds", type=int, help="Models retrained for each removal.  [3]")
@click.option("--datamodel-subsets", "n_datamodel_subsets", type=int, help="Random halves to learn from.  [400]")
@click.option("--truth-subsets", "n_truth_subsets", type=int, help="Subsets of each further truth; 0: none.  [50]")
@click.option("--minutes", type=float, help="Choose what is not given by this budget.  [20 where a train_model trains]")
@subject_option
def evidence(run: str, minutes: float | None, subject: Path | None, **options: Any) -> None:
    """Measure every method of RUN (a name or a path) by retraining, and print the board.

    Can be stopped and goes on where it stopped. What is measured already is printed at once.
    """
    with clear_errors():
        from trak_core.engine import measure_run
        from trak_core.engine.doors import settings_of

        run_dir = run_with_subject(run, subject)
        with open_run(run_dir) as opened:
            recipe = opened.info.recipe
        settings = settings_of(run_dir, minutes)
        given = {name: value for name, value in options.items() if value not in (None, ())}
        if recipe in RECIPES and minutes is None:
            given.setdefault("n_removal_tests", RECIPES[recipe].n_removal_tests)
        settings = replace(settings, **given)
        with progress_bar() as show:
            measure_run(run_dir, settings, show)
        with open_run(run_dir) as opened:
            click.echo(board_text(opened), nl=False)


@click.command(cls=Command)
@click.argument("run")
@click.option("--minutes", type=float, help="That it may take.")
@click.option("--n-subsets", type=int, help="Random halves that RUN then has, in place of minutes.")
@subject_option
def extend(run: str, minutes: float | None, n_subsets: int | None, subject: Path | None) -> None:
    """Retrain models of RUN (a name or a path) on more random halves, so that its evidence begins or gets surer.

    For runs of own data and of own subjects, whose builds stop when their minutes are over. Scores stay as they are.
    """
    with clear_errors():
        from trak_core.engine.growth import extend_run

        run_dir = run_with_subject(run, subject)
        with progress_bar() as show:
            extend_run(run_dir, minutes, n_subsets, show)
        say_complete(run_dir)


@click.command(name="map", cls=Command)
@click.argument("run")
def map_command(run: str) -> None:
    """Draw the map of RUN (a name or a path), where it has none.

    Builds draw it by themselves; runs saved from Python come without one.
    """
    with clear_errors():
        from trak_core.engine import map_run

        run_dir = find_run(run)
        with progress_bar() as show:
            map_run(run_dir, show)
    click.echo(f"The map of run {run_dir.name!r} is there. {LOOK_AT_IT}")


@click.command(cls=Command)
def recipes() -> None:
    """List the recipes that can be built."""
    for recipe in RECIPES.values():
        click.echo(f"{recipe.name:12} {recipe.title}: {recipe.description}")
