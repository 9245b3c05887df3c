"""Commands for custom data: check it, build a run from it, fetch a well-known data set."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from trak_core.commands.build_options import (
    budget_options,
    option,
    planting_options,
    say_phase,
    say_sizes,
    seed_and_device,
)
from trak_core.commands.once import COLUMN, Command
from trak_core.commands.terminal import clear_errors, progress_bar, reading_bar, say_complete
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.kinds import DATA_KINDS, DataKind
from trak_core.datasets.options import Option
from trak_core.folders import runs_dir, sources_dir
from trak_core.modalities import MODALITIES
from trak_core.views.data_report import differs, forecast_sentence


def reading_options(kind: DataKind) -> list[click.Parameter]:
    """The argument and the options that say where data of a kind lie and how they are read."""
    return [
        click.Argument(["path"], metavar=kind.metavar, type=click.Path(path_type=Path)),
        *(_reading_option(each, each.name in kind.required) for each in kind.options),
    ]


def _reading_option(said: Option, is_required: bool) -> click.Option:
    if said.values is bool:
        return option(said.flag, said.help, is_flag=True)
    values: Any = click.Path(path_type=Path) if said.values is Path else said.values
    if said.choices:
        values = click.Choice([str(value) for _, value in said.choices])
    return option(said.flag, said.help, type=values, metavar=COLUMN if said.is_column else None, required=is_required)


def custom_data(kind: DataKind, options: dict[str, Any], seed: int = 0) -> CustomData:
    """The data that the options of `reading_options` name; takes these out of `options`."""
    taken = {"path": options.pop("path")}
    for said in kind.options:
        value = options.pop(said.name)
        taken[said.name] = said.values(value) if said.choices and value is not None else value
    return CustomData(kind.name, seed=seed, **taken)


def build_commands() -> dict[str, click.Command]:
    """The subcommands of `build` for custom data."""
    return {name: _build_command(kind) for name, kind in DATA_KINDS.items()}


def _build_command(kind: DataKind) -> click.Command:
    modalities = [MODALITIES[name] for name in kind.modalities if name in MODALITIES]
    models = [model.name for modality in modalities for model in modality.models]
    models += [f"{library.prefix}:NAME" for modality in modalities for library in modality.libraries]
    adapters = any(library.has_adapters for modality in modalities for library in modality.libraries)
    lora = "Train LoRA adapters of that rank in place of the whole model."
    weights = "File of weights to begin training from: safetensors, or what torch.save wrote of a state dict."
    return Command(
        kind.name,
        callback=lambda **options: _build(kind, **options),
        help=f"From {kind.holds}.\n\nReads the data, says what is in them, then trains, attributes and "
        "measures as much as the minutes pay for. Can be stopped, and the same command goes on.",
        short_help=f"From {kind.holds}.",
        params=[
            *reading_options(kind),
            option("--name", "Name of the run.  [that of the folder or file]"),
            option("--model", f"What to train: {', '.join(models)} or MODULE:FUNCTION.  [what usually suits]"),
            *([option("--lora", lora, type=int)] if adapters else []),
            option("--weights", weights, type=click.Path(resolve_path=True)),
            option("--n-train", "Train examples to draw.  [all]", type=int),
            option("--n-test", "Test examples to explain.  [all, up to 1500]", type=int),
            *seed_and_device(),
            *budget_options(),
            *planting_options(),
        ],
    )


def _build(kind: DataKind, name: str | None, lora: int | None = None, **options: Any) -> None:
    with clear_errors():
        if lora is not None:
            options["model"] = f"{options['model'] or ''}?lora={lora}"
        from trak_core.engine.custom_build import CustomBuild, build_custom_data  # torch: a build pays for it

        source = custom_data(kind, options, options["seed"])
        name = name or source.usual_name
        asked = CustomBuild(**options)
        with reading_bar("reading") as show_reading, progress_bar() as show:
            run_dir = build_custom_data(
                source,
                asked,
                name,
                runs_dir(),
                on_report=lambda report: click.echo(report.text()),
                on_reading=show_reading,
                on_phase=say_phase,
                on_sizes=say_sizes,
                listener=show,
            )
        say_complete(run_dir)


@click.group()
def check() -> None:
    """Say what is in data before anything is trained: classes, sizes, duplicates, leaks, what cannot be read."""


def _check_command(kind: DataKind) -> click.Command:
    return Command(
        kind.name,
        callback=lambda **options: _check(kind, **options),
        help=f"{kind.holds[0].upper()}{kind.holds[1:]}.",
        params=[
            *reading_options(kind),
            option("--seed", "Of the draw of test examples.", type=int, default=0),
            option("--forecast", "Also try a model, and say what minutes of a build would buy.", is_flag=True),
            option("--model", "That --forecast tries.  [what usually suits]"),
            click.Option(["--json", "as_json"], is_flag=True, help="Print everything that was found, as JSON."),
        ],
    )


def _check(kind: DataKind, as_json: bool, seed: int, forecast: bool, model: str | None, **options: Any) -> None:
    with clear_errors("nothing was written."):
        from trak_core.datasets.readiness import try_preparing
        from trak_core.datasets.report import report_on

        began = time.monotonic()
        with reading_bar("reading") as show:
            raw = custom_data(kind, options, seed).read(show)
        to_read = time.monotonic() - began
        report = report_on(raw, seed)
        if not as_json:
            click.echo(report.text())
        found = try_preparing(raw, seed)
        told = replace(report, notes=(*report.notes, *found))
        if not as_json and found:
            click.echo("\n".join(found))
        if forecast:
            from trak_core.engine.forecast import forecasts  # torch: only who wants to know pays for it

            plans = forecasts(raw, model, seed, seconds_to_read=to_read)
            if not as_json:
                told_of = [each for each, before in zip(plans, [None, *plans], strict=False) if differs(each, before)]
                click.echo("\n".join(["", *map(forecast_sentence, told_of)]))
            else:
                told = replace(told, forecasts=tuple(plans))
        if as_json:
            click.echo(told.as_json())


for _kind in DATA_KINDS.values():
    check.add_command(_check_command(_kind))


@click.command(name="download", cls=Command)
@click.argument("name")
@click.argument("directory", type=click.Path(path_type=Path), default=sources_dir)
@click.option("--mirror", help="Address or folder that has the files under the same names.")
def download_command(name: str, directory: Path, mirror: str | None) -> None:
    """Fetch fashion-mnist, cifar-10 or ag-news into DIRECTORY/NAME, and check every file's sum.

    DIRECTORY is data/sources unless given. A download that broke off goes on where it stopped.
    """
    with clear_errors():
        from trak_core.datasets.download import download

        with tqdm(unit="B", unit_scale=True, disable=None, desc=name) as bar:

            def show(n_done: int, n_bytes: int) -> None:
                bar.total = n_bytes
                bar.update(n_done - bar.n)

            folder = download(name, directory, mirror, show)
        if name == "ag-news":
            options = f"table {folder / 'train.csv'} --test {folder / 'test.csv'} --text 3 --label 1 --no-header"
        else:
            options = f"image-arrays {folder}"
        click.echo(f"{folder} is there. Build a run of it with: python -m trak_core build {options} --n-train 5000")
