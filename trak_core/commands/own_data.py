"""Commands for people's own data: check it, build a run from it, fetch a well-known data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from trak_core.commands.build_options import planting_options, seed_and_device, size_options
from trak_core.commands.terminal import clear_errors, progress_bar, say_complete
from trak_core.datasets.own_data import DATA_KINDS, DataKind, OwnData
from trak_core.jobs import report_progress
from trak_core.stopping import stop_when_asked
from trak_core.store.catalog import runs_dir
from trak_core.subjects.ready_model import READY_MODELS

if TYPE_CHECKING:
    from trak_core.datasets.report import DataReport
    from trak_core.engine.budget import Sizes

__all__ = ["build_commands", "check", "download_command", "reading_options"]

PATH_KINDS = {
    "image-folder": (
        "FOLDER",
        "images laid out as FOLDER/CLASS/IMAGE, or below train and test folders; a zip too",
    ),
    "image-arrays": ("PATH", "arrays of images: a folder of idx or CIFAR-10 files, or an .npz file"),
    "table": ("FILE", "texts in a CSV, JSON lines or Parquet file"),
    "hf-dataset": ("FOLDER", "what `save_to_disk` of the Hugging Face library datasets wrote"),
}
"""What each kind's path is, for usage lines, and what it holds."""


def reading_options(kind: DataKind) -> list[click.Parameter]:
    """The argument and the options that say where data of a kind lie and how they are read."""
    share = click.Option(
        ["--test-share"], type=float, help="Share of each class put aside where there are no test examples.  [0.2]"
    )
    size = [
        click.Option(["--size"], type=int, help="Height and width of images in pixels.  [that of all, up to 64]"),
        click.Option(["--channels"], type=click.Choice(["1", "3"]), help="1 for grey, 3 for colours.  [as they are]"),
    ]
    label = click.Option(["--label"], metavar="COLUMN", required=kind == "table", help="Column of the labels.")
    text = click.Option(["--text"], metavar="COLUMN", required=kind == "table", help="Column of the texts.")
    image = click.Option(["--image"], metavar="COLUMN", help="Column of the images.")
    options: dict[DataKind, list[click.Option]] = {
        "image-folder": [*size, share],
        "image-arrays": [share],
        "table": [
            text,
            label,
            click.Option(["--split"], metavar="COLUMN", help="Column that says train, test or validation."),
            click.Option(["--test"], type=click.Path(path_type=Path), help="A second table, of test examples."),
            click.Option(
                ["--no-header"], is_flag=True, help="The first row is an example; columns have numbers from 1."
            ),
            click.Option(["--delimiter"], help="Between the fields of a CSV file.  [found out]"),
            click.Option(["--encoding"], help="Of a CSV file, such as latin-1.  [utf-8]"),
            share,
        ],
        "hf-dataset": [text, image, label, *size, share],
    }
    return [
        click.Argument(["path"], metavar=PATH_KINDS[kind][0], type=click.Path(path_type=Path)),
        *options[kind],
    ]


def own_data(kind: DataKind, options: dict[str, Any], seed: int = 0) -> OwnData:
    """The data that the options of `reading_options` name; takes these out of `options`."""
    known = {field.name for field in fields(OwnData)} - {"kind", "seed"}
    taken = {name: options.pop(name) for name in list(options) if name in known}
    if taken.get("channels") is not None:
        taken["channels"] = int(taken["channels"])
    return OwnData(kind, seed=seed, **taken)


def build_commands() -> dict[str, click.Command]:
    """The subcommands of `build` for own data."""
    return {kind: _build_command(kind) for kind in DATA_KINDS}


def _build_command(kind: DataKind) -> click.Command:
    is_texts, is_images = kind == "table", kind.startswith("image")
    models = [
        model.name
        for model in READY_MODELS.values()
        if not (is_texts and model.encoding == "pixels") and not (is_images and model.encoding != "pixels")
    ]
    others = (
        "huggingface:NAME" if is_texts else "torchvision:NAME" if is_images else "huggingface:NAME, torchvision:NAME"
    )
    return click.Command(
        kind,
        callback=lambda **options: _build(kind, **options),
        help=f"From {PATH_KINDS[kind][1]}.\n\nReads the data, says what is in them, then trains, attributes and "
        "measures as much as the minutes pay for. Can be stopped, and the same command goes on.",
        short_help=f"From {PATH_KINDS[kind][1]}.",
        params=[
            *reading_options(kind),
            click.Option(["--name"], help="Name of the run.  [that of the folder or file]"),
            click.Option(
                ["--model"],
                help=f"What to train: {', '.join(models)}, {others} or MODULE:FUNCTION.  [what usually suits]",
            ),
            click.Option(
                ["--weights"],
                type=click.Path(resolve_path=True),
                help="File of weights to begin training from: safetensors, or what torch.save wrote of a state dict.",
            ),
            click.Option(
                ["--minutes"], type=float, default=10.0, show_default=True, help="That the whole build may take."
            ),
            click.Option(["--n-train"], type=int, help="Train examples to draw.  [all]"),
            click.Option(["--n-test"], type=int, help="Test examples to explain.  [all, up to 1500]"),
            *seed_and_device(),
            *size_options(),
            *planting_options(),
        ],
    )


def _build(kind: DataKind, name: str | None, **options: Any) -> None:
    stop_when_asked()
    with clear_errors():
        from trak_core.engine.custom_build import OwnBuild, build_own_data  # torch: a build pays for it

        source = own_data(kind, options, options["seed"])
        name = name or source.usual_name
        with _reading_bar() as show_reading, progress_bar() as show:
            run_dir = build_own_data(
                source, OwnBuild(**options), name, runs_dir(), _say_report, show_reading, _say_sizes, show
            )
        say_complete(run_dir)


def _say_report(report: DataReport) -> None:
    click.echo(report.text())


def _say_sizes(sizes: Sizes) -> None:
    click.echo(
        f"To be computed: {sizes.n_checkpoints} checkpoints, and {sizes.n_subsets} random halves with "
        f"{sizes.n_seeds} models each."
    )


@contextmanager
def _reading_bar() -> Iterator[Callable[[int, int], None]]:
    """Shows how far reading is; nothing where reading tells nothing."""
    with tqdm(total=1000, bar_format="reading {bar}| {elapsed}", disable=None, leave=False) as bar:

        def show(n_done: int, n_steps: int) -> None:
            report_progress(n_done / max(n_steps, 1), "reading")
            bar.update(1000 * n_done / max(n_steps, 1) - bar.n)

        yield show


@click.group()
def check() -> None:
    """Say what is in data before anything is trained: classes, sizes, duplicates, leaks, what cannot be read."""


def _check_command(kind: DataKind) -> click.Command:
    return click.Command(
        kind,
        callback=lambda **options: _check(kind, **options),
        help=f"{PATH_KINDS[kind][1][0].upper()}{PATH_KINDS[kind][1][1:]}.",
        params=[
            *reading_options(kind),
            click.Option(["--seed"], type=int, default=0, show_default=True, help="Of the draw of test examples."),
            click.Option(["--json", "as_json"], is_flag=True, help="Print everything that was found, as JSON."),
        ],
    )


def _check(kind: DataKind, as_json: bool, seed: int, **options: Any) -> None:
    with clear_errors("nothing was written."):
        from trak_core.datasets.report import report_on

        with _reading_bar() as show:
            report = report_on(own_data(kind, options, seed).read(show))
        click.echo(report.as_json() if as_json else report.text())


for _kind in DATA_KINDS:
    check.add_command(_check_command(_kind))


@click.command(name="download")
@click.argument("name")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("data/sources"))
@click.option("--mirror", help="Address or folder that has the files under the same names.")
def download_command(name: str, directory: Path, mirror: str | None) -> None:
    """Fetch fashion-mnist, cifar-10 or ag-news into DIRECTORY/NAME, and check every file's sum.

    A download that broke off goes on where it stopped.
    """
    stop_when_asked()
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
