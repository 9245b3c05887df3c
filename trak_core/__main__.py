"""The command line: `python -m trak_core`. Exit status 0 is success, 2 a usage or input error, 1 anything else."""

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import click
from tqdm import tqdm

from trak_core.errors import SingularKernelError, StorageError, TrainingDivergedError, TrakCoreError
from trak_core.evidence.retraining import N_SEEDS as N_LABEL_SEEDS
from trak_core.evidence.retraining import as_trial
from trak_core.evidence.verification import verify
from trak_core.evidence.what_if import N_SEEDS, as_question, read_removed
from trak_core.jobs import report_progress
from trak_core.labels.planting import KINDS
from trak_core.recipes import RECIPES, Recipe, find_recipe
from trak_core.store.archive import export_run, import_run
from trak_core.store.catalog import RunSummary, find_run, list_runs, runs_dir
from trak_core.store.connection import is_stop
from trak_core.store.progress import BuildStatus, read_status
from trak_core.store.reviews import ReviewLog, Reviews
from trak_core.store.run import Lds, Run, open_run
from trak_core.views.board_text import board_text
from trak_core.views.label_files import read_label_file, write_label_file
from trak_core.views.label_quality import first_suspects, planted_in_words, planted_quality
from trak_core.views.retraining import corrections_of
from trak_core.views.retraining_text import left_aside_sentence, retraining_facts, retraining_text
from trak_core.views.review import data_fingerprint, standing_log
from trak_core.views.suspects_text import suspects_text
from trak_core.views.what_if import foretell_question
from trak_core.views.what_if_text import what_if_text

FAILURES = (SingularKernelError, StorageError, TrainingDivergedError)
"""What can go wrong with input that is right; every other error of ours is about the input."""
INPUT_ERROR_STATUS = 2
GOES_ON = "the same command goes on from here."
BEGINS_AGAIN = "nothing of this was kept, and the same command begins again."


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
            click.Option(
                ["--flip-labels"],
                type=float,
                default=0.0,
                show_default=True,
                help="Share of the training labels to make wrong on purpose, 0 to 0.5, to try finding them.",
            ),
            click.Option(
                ["--flip-kind"],
                type=click.Choice(KINDS),
                default="uniform",
                show_default=True,
                help="Which wrong label these get: of any other class, or of one that looks alike.",
            ),
            click.Option(["--evidence"], is_flag=True, help="Then measure every method, as `evidence` does."),
        ],
    )


def _build(
    recipe: Recipe,
    name: str,
    seed: int,
    device: str,
    evidence: bool,
    flip_labels: float,
    flip_kind: str,
    **sizes: int,
) -> None:
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors():
        from trak_core.building import (  # torch: a build pays for it
            BuildSettings,
            MeasureSettings,
            build_run,
            measure_run,
        )

        settings = BuildSettings.of(recipe, seed, device, flip_labels, flip_kind, **sizes)
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
        told = ""

        def show(status: BuildStatus) -> None:
            nonlocal told
            if bar.disable and status.step != told:  # no terminal but a log: a line a step
                told = status.step
                click.echo(f"{time.strftime('%H:%M:%S')} {status.fraction:4.0%} {told}", err=True)
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


@cli.command(name="map")
@click.argument("run")
def map_command(run: str) -> None:
    """Draw the map of RUN (a name or a path), where it has none.

    Builds draw it by themselves; runs saved from Python come without one.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors():
        from trak_core.building import map_run

        run_dir = find_run(run)
        with _progress_bar() as show:
            map_run(run_dir, show)
    click.echo(f"The map of run {run_dir.name!r} is there. Look at it with: streamlit run app.py")


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
                "n_planted_errors": opened.rows("SELECT count(*) FROM planted_errors")[0][0],
                "lds": _lds_facts(opened.lds()) if opened.has_lds else None,
                "megabytes": round(_size(run_dir) / 1e6, 1),
                "build": asdict(status) if status else None,
                **{f"meta.{key}": value for key, value in opened.info.provenance.items()},
            }
            planted = planted_in_words(opened)
        if as_json:
            click.echo(json.dumps(facts, indent=2))
            return
        for key, value in facts.items():
            click.echo(f"{key:34} {value if isinstance(value, str) else json.dumps(value)}")
        if planted is not None:
            click.echo(f"\n{planted}")


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


@cli.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def export(run: str, file: Path, force: bool) -> None:
    """Write RUN (a name or a path), reviews included, as one FILE that `import` opens anywhere."""
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors(BEGINS_AGAIN):
        run_dir = find_run(run)
        export_run(run_dir, file, force)
        click.echo(f"Run {run_dir.name!r} is in {file} ({file.stat().st_size / 1e6:,.1f} MB).")


@cli.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the run; the one that it was exported under by default.")
@click.option("--max-gb", type=float, help="The most that FILE may unpack to, in GB; 20 times its size by default.")
def import_command(file: Path, name: str | None, max_gb: float | None) -> None:
    """Add the run in FILE, which `export` wrote, to the directory of runs, after checking all of it."""
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors(BEGINS_AGAIN):
        run_dir = import_run(file, runs_dir(), name, None if max_gb is None else round(max_gb * 1e9))
        click.echo(f"Run {run_dir.name!r} is there: {run_dir}\nLook at it with: streamlit run app.py")


@cli.command()
@click.argument("run")
@click.option("--signal", "by", help="Rank by this signal; by the one that the review begins with by default.")
@click.option("--first", type=click.IntRange(1), default=20, show_default=True, help="How many to print.")
@click.option("--cleanlab", "with_cleanlab", is_flag=True, help="Compare with cleanlab, where errors were planted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def suspects(run: str, by: str | None, first: int, with_cleanlab: bool, as_json: bool) -> None:
    """Print the training labels of RUN (a name or a path) that look most like wrong ones.

    Where labels were made wrong on purpose (--flip-labels), also how well every signal finds them.
    """
    with clear_errors(), open_run(find_run(run)) as opened:
        found = first_suspects(opened, by, first)
        if not as_json:
            click.echo(suspects_text(opened, found, with_cleanlab), nl=False)
            return
        measured = planted_quality(opened, with_cleanlab)
        facts = {
            **asdict(found),
            "class_names": opened.info.class_names,
            "quality": None if measured is None else {name: asdict(of) for name, of in measured.items()},
        }
        click.echo(json.dumps(facts, indent=2))


@cli.command(name="what-if")
@click.argument("run")
@click.option("--test", "test_idx", type=int, required=True, help="Number of the test example.")
@click.option("--remove", default="", help="Numbers of train examples, as in 1,2,3; - reads them from standard input.")
@click.option("--top-proponents", type=click.IntRange(0), default=0, help="Remove so many proponents as well.")
@click.option("--seeds", type=int, default=N_SEEDS, show_default=True, help="Pairs of models to train.")
@click.option("--method", help="Whose scores predict and name proponents; the run's own by default.")
def what_if(run: str, test_idx: int, remove: str, top_proponents: int, seeds: int, method: str | None) -> None:
    """Retrain the models of RUN (a name or a path) with and without some train examples.

    Prints predicted and actual change of the margin of every class. The answer is kept in the run's history, and the
    same question is answered from there.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors(BEGINS_AGAIN):
        run_dir = find_run(run)
        with open_run(run_dir) as opened:
            removed = read_removed(sys.stdin.read() if remove == "-" else remove)
            if top_proponents:
                removed += map(int, opened.proponents(test_idx, top_proponents, method)["train_idx"])
            question = as_question(opened, test_idx, removed, seeds)
            foretold, titles = foretell_question(opened, question, method), opened.method_titles
        from trak_core.building.what_if import verify_what_if  # torch: retraining pays for it

        with _retraining_bar() as show:
            verified = verify_what_if(run_dir, test_idx, removed, seeds, show)
        click.echo(what_if_text(foretold, verified, titles[foretold.method]), nl=False)


@cli.command()
@click.argument("run")
@click.option("--labels", "file", type=click.Path(path_type=Path), help="Labels to try; the review's by default.")
@click.option("--n-seeds", type=int, default=N_LABEL_SEEDS, show_default=True, help="Models on each set of labels.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def retrain(run: str, file: Path | None, n_seeds: int, as_json: bool) -> None:
    """Retrain the models of RUN (a name or a path) on its labels as given and as cleaned, and compare.

    The cleaned labels are those of the review, or of a CSV or Parquet file with the columns train_idx and new_label (a
    class number; empty leaves the example out). Prints test accuracy before and after with 95% intervals, and the test
    examples that changed. The answer is kept beside the verdicts, and the same labels with as many models are
    answered from there.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    with clear_errors(BEGINS_AGAIN):
        run_dir = find_run(run)
        with open_run(run_dir) as opened:
            log = ReviewLog() if file is not None else _standing(opened)
            corrections = corrections_of(opened, log) if file is None else read_label_file(opened, file)
            as_trial(opened, corrections, n_seeds)
        from trak_core.building.retraining import retrain_on_labels  # torch: retraining pays for it

        with _retraining_bar() as show:
            found = retrain_on_labels(run_dir, corrections, n_seeds, show)
        with open_run(run_dir) as opened:
            facts = {**retraining_facts(opened, found), "n_left_aside": log.n_of_other_data + log.n_not_in_run}
            said = json.dumps(facts, indent=2) + "\n" if as_json else retraining_text(opened, found)
        click.echo(said, nl=False)
        if aside := left_aside_sentence(log):
            click.echo(aside, err=as_json)


@cli.command()
@click.argument("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
def labels(run: str, file: Path, overwrite: bool) -> None:
    """Write the labels of RUN (a name or a path), as the review cleaned them, to FILE (.csv or .parquet)."""
    with clear_errors(BEGINS_AGAIN), open_run(find_run(run)) as opened:
        log = _standing(opened)
        corrections = write_label_file(opened, log, file, overwrite)
        click.echo(
            f"The labels of {opened.info.n_train:,} train examples are in {file}: {len(corrections.relabelled):,} "
            f"changed, {len(corrections.excluded):,} left out (no new label)."
        )
        if aside := left_aside_sentence(log):
            click.echo(aside)


def _standing(run: Run) -> ReviewLog:
    return standing_log(run, Reviews(run.path, data_fingerprint(run)).read())


@contextmanager
def _retraining_bar() -> Iterator[Callable[[float, str], None]]:
    with tqdm(total=1.0, bar_format="{l_bar}{bar}| {elapsed}", disable=None) as bar:

        def show(fraction: float, step: str) -> None:
            report_progress(fraction, step)
            bar.set_description_str(step, refresh=False)
            bar.update(fraction - bar.n)

        yield show


@contextmanager
def clear_errors(stopped: str = GOES_ON) -> Iterator[None]:
    """One clear line on standard error instead of a traceback, and the exit status that fits.

    `stopped` says what becomes of the command when it is asked to stop.
    """
    try:
        yield
    except TrakCoreError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1 if isinstance(error, FAILURES) else INPUT_ERROR_STATUS) from error
    except (KeyboardInterrupt, RuntimeError) as error:
        if not is_stop(error):
            raise
        click.echo(f"stopped; {stopped}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    cli(prog_name="python -m trak_core")
