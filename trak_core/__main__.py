"""The command line: `python -m trak_core`. Exit status 0 is success, 2 a usage or input error, 1 anything else."""

import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import click
from tqdm import tqdm

from trak_core.errors import SingularKernelError, StorageError, TrainingDivergedError, TrakCoreError
from trak_core.evidence.verification import verify
from trak_core.recipes import RECIPES, Recipe, find_recipe
from trak_core.store.catalog import RunSummary, find_run, list_runs, runs_dir
from trak_core.store.progress import BuildStatus, read_status
from trak_core.store.run import Lds, open_run
from trak_core.views.board_text import board_text

FAILURES = (SingularKernelError, StorageError, TrainingDivergedError)
"""What can go wrong with input that is right; every other error of ours is about the input."""
INPUT_ERROR_STATUS = 2


class RecipeGroup(click.Group):
    """`build`: one subcommand a recipe, made from the registry."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all recipes."""
        return list(RECIPES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """The command that builds one recipe; an unknown name is one clear line."""
        with clear_errors():
            return _build_command(find_recipe(cmd_name))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Training-data attribution: build runs, list them, look into them, check them.

    Runs lie in data/runs beside this program, or in the directory that TRAK_RUNS_DIR names.
    """


@cli.group(cls=RecipeGroup)
def build() -> None:
    """Build a run from a recipe, or go on with one that was stopped."""


def _build_command(recipe: Recipe) -> click.Command:
    def option(flag: str, default: int, text: str) -> click.Option:
        return click.Option([flag], type=int, default=default, show_default=True, help=text)

    return click.Command(
        recipe.name,
        callback=lambda **options: _build(recipe, **options),
        help=f"{recipe.title}: {recipe.description}",
        params=[
            click.Option(["--name"], default=recipe.name, show_default=True, help="Name of the run."),
            option("--seed", 0, "Root of every random choice."),
            click.Option(
                ["--device"],
                type=click.Choice(["auto", "cpu", "cuda"]),
                default="auto",
                show_default=True,
                help="Where to compute.",
            ),
            option("--n-checkpoints", recipe.n_checkpoints, "Models that attribution averages over."),
            option("--proj-dim", recipe.proj_dim, "Dimension of the stored features."),
            option(
                "--n-subsets",
                recipe.n_subsets,
                "Random halves to retrain on; the first fifth is for fitting.",
            ),
            option("--n-seeds", recipe.n_seeds, "Models retrained on each half."),
            click.Option(["--evidence"], is_flag=True, help="Then measure every method, as `evidence` does."),
        ],
    )


def _build(recipe: Recipe, name: str, seed: int, device: str, evidence: bool, **sizes: int) -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors():
        from trak_core.building import (  # torch: a build pays for it
            BuildSettings,
            MeasureSettings,
            build_run,
            measure_run,
        )

        settings = BuildSettings.of(recipe, seed, device, **sizes)
        command = [*settings.command(name), *(["--evidence"] if evidence else [])]
        with _progress_bar() as show:
            run_dir = build_run(settings, name, runs_dir(), show, command)
        if evidence:
            with _progress_bar() as show:
                measure_run(run_dir, MeasureSettings(n_removal_tests=recipe.n_removal_tests), show)
        with open_run(run_dir) as run:
            lds = run.lds()
        click.echo(
            f"Run {name!r} is complete: {run_dir}\n"
            f"LDS of {run.info.method}: {_number(lds.mean)} "
            f"(95% interval {_number(lds.ci_low)} to {_number(lds.ci_high)}), "
            f"noise ceiling {_number(lds.noise_ceiling)}.\n"
            "Look at it with: streamlit run app.py"
        )


@contextmanager
def _progress_bar() -> Iterator[Callable[[BuildStatus], None]]:
    # The bar counts in per mille, because steps differ in what they count.
    with tqdm(total=1000, bar_format="{l_bar}{bar}| {elapsed}{postfix}", disable=None) as bar:

        def show(status: BuildStatus) -> None:
            bar.set_description_str(status.step, refresh=False)
            bar.set_postfix_str(status.time_left.removeprefix(", "), refresh=False)
            bar.update(1000 * status.fraction - bar.n)

        yield show
        bar.update(1000 - bar.n)


@cli.command()
@click.argument("run")
@click.option("--method", "methods", multiple=True, help="Measure this method only; may be repeated. All by default.")
@click.option("--removal-tests", type=int, help="Test examples that removal is measured on; 0 for none.")
@click.option("--removal-size", "removal_sizes", type=int, multiple=True, help="How many to remove; may be repeated.")
@click.option("--removal-seeds", type=int, default=3, show_default=True, help="Models retrained for each removal.")
@click.option("--datamodel-subsets", type=int, default=400, show_default=True, help="Random halves to learn from.")
@click.option(
    "--truth-subsets", type=int, default=50, show_default=True, help="Subsets of each further truth; 0: none."
)
def evidence(
    run: str,
    methods: tuple[str, ...],
    removal_tests: int | None,
    removal_sizes: tuple[int, ...],
    removal_seeds: int,
    datamodel_subsets: int,
    truth_subsets: int,
) -> None:
    """Measure every method of RUN (a name or a path) by retraining, and print the board.

    Can be stopped and goes on where it stopped. What is measured already is printed at once.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors():
        from trak_core.building import MeasureSettings, measure_run
        from trak_core.methods import METHODS

        run_dir = find_run(run)
        with open_run(run_dir) as opened:
            recipe = opened.info.recipe
        default = RECIPES[recipe].n_removal_tests if recipe in RECIPES else 0
        settings = MeasureSettings(
            methods=methods or tuple(METHODS),
            n_removal_tests=default if removal_tests is None else removal_tests,
            removal_sizes=removal_sizes or MeasureSettings.removal_sizes,
            n_removal_seeds=removal_seeds,
            n_datamodel_subsets=datamodel_subsets,
            n_truth_subsets=truth_subsets,
        )
        with _progress_bar() as show:
            measure_run(run_dir, settings, show)
        with open_run(run_dir) as opened:
            click.echo(board_text(opened), nl=False)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@cli.command()
def recipes() -> None:
    """List the recipes that can be built."""
    for recipe in RECIPES.values():
        click.echo(f"{recipe.name:12} {recipe.title}: {recipe.description}")


@cli.command()
def runs() -> None:
    """List the runs that there are."""
    with clear_errors():
        summaries = list_runs()
    if not summaries:
        click.echo(f"No run in {runs_dir()} yet; `python -m trak_core build digits` makes one.")
    for summary in summaries:
        click.echo(_line(summary))


def _line(summary: RunSummary) -> str:
    parts = [f"{summary.name:20} {summary.state:9}"]
    if summary.n_train is not None:
        parts.append(f"{summary.n_train:,} train, {summary.n_test:,} test")
    if summary.lds is not None:
        parts.append(f"LDS {_number(summary.lds)}, noise ceiling {_number(summary.noise_ceiling)}")
    if summary.build is not None and summary.state == "building":
        parts.append(f"{summary.build.step}, {summary.build.fraction:.0%}")
    if summary.problem:
        parts.append(summary.problem)
    return "  ".join(parts)


@cli.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(run: str, as_json: bool) -> None:
    """Tell what RUN (a name or a path) is made of."""
    with clear_errors():
        run_dir = find_run(run)
        status = read_status(run_dir)
        with open_run(run_dir) as opened:
            facts: dict[str, Any] = {
                "name": opened.info.name,
                "path": str(run_dir),
                "title": opened.info.title,
                "n_train": opened.info.n_train,
                "n_test": opened.info.n_test,
                "methods": list(opened.info.methods),
                "lds": _lds_facts(opened.lds()) if opened.has_lds else None,
                "megabytes": round(_size(run_dir) / 1e6, 1),
                "build": asdict(status) if status else None,
                **{f"meta.{key}": value for key, value in opened.info.provenance.items()},
            }
        if as_json:
            click.echo(json.dumps(facts, indent=2))
            return
        for key, value in facts.items():
            click.echo(f"{key:34} {value if isinstance(value, str) else json.dumps(value)}")


def _lds_facts(lds: Lds) -> dict[str, float | int | None]:
    names = ("mean", "ci_low", "ci_high", "noise_ceiling", "n_subsets", "n_seeds")
    # JSON has no NaN: what is undefined is null.
    return {name: value if math.isfinite(value := getattr(lds, name)) else None for name in names}


def _number(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.3f}"


def _size(run_dir: Path) -> int:
    return sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())


@cli.command(name="verify")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify_command(run: str, as_json: bool) -> None:
    """Check that RUN (a name or a path) says the same in all its parts."""
    with clear_errors(), open_run(find_run(run)) as opened:
        checks = verify(opened)
    if as_json:
        click.echo(
            json.dumps({"ok": all(check.ok for check in checks), "checks": [asdict(c) for c in checks]}, indent=2)
        )
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name}{': ' + check.detail if check.detail else ''}")
    if not all(check.ok for check in checks):
        raise SystemExit(1)


@contextmanager
def clear_errors() -> Iterator[None]:
    """One clear line on standard error instead of a traceback, and the exit status that fits."""
    try:
        yield
    except TrakCoreError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1 if isinstance(error, FAILURES) else INPUT_ERROR_STATUS) from error
    except KeyboardInterrupt as error:
        click.echo("stopped; the same command goes on from here.", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    cli(prog_name="python -m trak_core")
