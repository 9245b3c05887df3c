"""The command that writes cleaned data in the form in which they came."""

import shlex
from pathlib import Path

import click
import pandas as pd

from trak_core.commands.terminal import BEGINS_AGAIN, clear_errors, reading_bar
from trak_core.datasets.rows import counted
from trak_core.errors import InvalidSettingError
from trak_core.exchange.cleaned import Cleaning, clean
from trak_core.exchange.cleaned_data import changes, cleaned_by_review, mend_in_place, write_changes, write_cleaned
from trak_core.store.catalog import find_run
from trak_core.store.run import open_run
from trak_core.views.label_quality import in_one_line
from trak_core.views.review_tables import read_label_file


@click.command()
@click.argument("run")
@click.option("--to", type=click.Path(path_type=Path), help="What to write: a file like the data, or a new folder.")
@click.option("--apply", "is_applied", is_flag=True, help="Carry out the moves of a folder.")
@click.option("--in-place", is_flag=True, help="With --apply: move images in their folder rather than in a copy.")
@click.option("--source", type=click.Path(path_type=Path), help="Where the data of RUN lie now, if they moved.")
@click.option("--labels", "file", type=click.Path(path_type=Path), help="Cleaned labels; the review's by default.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def cleaned(
    run: str, to: Path | None, is_applied: bool, in_place: bool, source: Path | None, file: Path | None, force: bool
) -> None:
    """Give the data of RUN (a name or a path) back with the labels that the review mended.

    Without --to, says what is to be changed and writes nothing. A table comes back as the same table, in which only
    the mended labels differ. A folder of images comes back by moves from one class folder to another: they are printed,
    or written where FILE of --to ends in .csv, and --apply carries them out in a copy, or in the folder itself with
    --in-place. Arrays and data sets of Hugging Face come back as a copy, the latter in Parquet. What was excluded is
    left out.
    """
    with clear_errors(BEGINS_AGAIN), open_run(find_run(run)) as opened:
        with reading_bar("reading") as show:
            if file is None:
                cleaning = cleaned_by_review(opened, source, show)
            else:
                cleaning = clean(opened, read_label_file(opened, file), source, show)
        path = cleaning.path
        if in_place:
            if to is not None or not is_applied:
                raise InvalidSettingError("--in-place goes with --apply and without --to; give it so.")
            aside = mend_in_place(cleaning)
            click.echo(f"{_counted(cleaning)} in {path}.")
            if aside is not None:
                click.echo(f"What was left out is in {aside}.")
        elif to is not None and (cleaning.form != "folder" or is_applied):
            table = changes(cleaning)
            write_cleaned(cleaning, to, force)
            click.echo(f"{_counted(cleaning)}; the cleaned data are in {to}.")
            click.echo(_renamed(table), nl=False)
            click.echo(_next(cleaning, to))
        elif to is not None and to.suffix.lower() == ".csv":
            write_changes(cleaning, to, force)
            click.echo(f"{len(cleaning.mended):,} moves are in {to}; nothing was moved.")
        elif is_applied:
            raise InvalidSettingError(
                "--apply copies to a new folder, or changes the old one; give --to or --in-place."
            )
        else:
            click.echo(_listed(cleaning), nl=False)


def _counted(cleaning: Cleaning) -> str:
    n = cleaning.n_relabelled
    left_out = f", {cleaning.n_left_out:,} left out" if cleaning.n_left_out else ""
    return f"{n:,} {'label was' if n == 1 else 'labels were'} mended{left_out}"


def _renamed(table: pd.DataFrame) -> str:
    """A line for each image whose name was taken where it belongs."""
    if "is_renamed" not in table:
        return ""
    pairs = zip(table["from"], table["to"], table["is_renamed"], strict=True)
    return "".join(
        f"{in_one_line(old)} is {in_one_line(new)} there: its name is taken.\n" for old, new, is_ in pairs if is_
    )


def _next(cleaning: Cleaning, to: Path) -> str:
    """What to do with the cleaned data."""
    data = cleaning.source.data
    if cleaning.table_of_labels is not None:  # its name and its folder may say which images it is about
        return f"Put it in the place of {cleaning.path} to use it."
    words = type(data)(data.kind, to, **data.options).words()
    return f"Look at them with: {shlex.join(['python', '-m', 'trak_core', 'check', *words])}"


def _listed(cleaning: Cleaning) -> str:
    """What is to be changed, a line each, and how to have it done."""
    table, is_table = changes(cleaning), cleaning.form != "folder"
    old, new = ("origin", "new_label") if is_table else ("from", "to")
    width = max(len(in_one_line(name)) for name in table[old])
    lines = []
    for one, (before, after) in zip(cleaning.mended, zip(table[old], table[new], strict=True), strict=True):
        becomes = "left out" if one.new_label is None else in_one_line(after)
        given = f"{in_one_line(one.label)} -> " if is_table else "-> "
        lines.append(f"{in_one_line(before):{width}}  {given}{becomes}")
    path = cleaning.path
    if is_table:
        advice = f"Give --to {'FOLDER' if path.is_dir() else 'FILE'} for a copy of {path.name} with these labels."
    else:
        advice = (
            "Give --apply --to FOLDER for a copy with these moves, --apply --in-place to move the images themselves, "
            "or --to FILE.csv for the list."
        )
    mended, left_out = counted(cleaning.n_relabelled, "label"), counted(cleaning.n_left_out, "example")
    counts = f"To do in {path}: mend {mended}, leave out {left_out}."
    return "\n".join([counts, "", *lines, "", f"Nothing was written. {advice}"]) + "\n"
