"""Cleaned data for whoever asks: what a review comes to in them, as a table to look at and written in their form."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from trak_core.datasets.rows import counted
from trak_core.errors import InvalidSettingError
from trak_core.exchange.cleaned import Cleaning, clean
from trak_core.exchange.cleaned_copy import write_copy
from trak_core.exchange.cleaned_table import table_ending, write_cleaned_table
from trak_core.exchange.moves import copy_moved, move_in_place, moves_of, moves_table
from trak_core.store.files import check_new_file, replace_file
from trak_core.store.reviews import Reviews
from trak_core.store.run import Run
from trak_core.views.retraining import corrections_of
from trak_core.views.review import data_fingerprint


def cleaned_by_review(
    run: Run,
    path: Path | None = None,
    on_progress: Callable[[int, int], object] = lambda n_done, n_steps: None,
) -> Cleaning:
    """What the review of a run comes to in its data; arguments and errors are those of `clean`."""
    log = Reviews(run.path, data_fingerprint(run)).read()
    return clean(run, corrections_of(run, log), path, on_progress)


def changes(cleaning: Cleaning) -> pd.DataFrame:
    """What is to be done, a row for each example that was found wrong.

    Returns:
        The columns train_idx, origin, label and new_label; for a folder of images train_idx, from, to and is_renamed
        (True where the name is taken in the new folder). What is left out has no new label and no new place.

    Raises:
        InvalidDataError, NotInRunError: as `moves_of`.
    """
    return moves_table(moves_of(cleaning)) if cleaning.form == "folder" else cleaning.table()


def write_changes(cleaning: Cleaning, to: Path, overwrite: bool = False) -> None:
    """Writes `changes` to a CSV file; its errors, and those of a file that cannot be written."""
    check_new_file(to, overwrite)
    table = changes(cleaning)
    replace_file(to, lambda temporary: table.to_csv(temporary, index=False))


def write_cleaned(cleaning: Cleaning, to: Path, overwrite: bool = False) -> None:
    """Writes the cleaned data beside those that the run was built from, which stay as they are.

    A table becomes a table in which only the mended labels differ; a folder becomes a copy with its images in the
    folders of their new classes, and a zip file another one; arrays and data sets of Hugging Face are copied, see
    `write_copy`. What was excluded is left out.

    Args:
        cleaning: of the data.
        to: a file with the ending of the data, or a folder that is not there yet.
        overwrite: replace a file that is there; never a folder.

    Raises:
        InvalidDataError, InvalidSettingError, NotInRunError, StorageError: as `write_cleaned_table`, `write_copy`,
            `moves_of` and `copy_moved`.
    """
    if cleaning.form == "table":
        write_cleaned_table(cleaning, to, overwrite)
    elif cleaning.form == "copy":
        write_copy(cleaning, to, overwrite)
    else:
        copy_moved(cleaning.path, moves_of(cleaning), to)


def mend_in_place(cleaning: Cleaning) -> Path | None:
    """Moves the images of a folder to where they belong; where those went that are left out, None where there are none.

    Raises:
        InvalidSettingError: the data are no folder of images.
        InvalidDataError, NotInRunError, StorageError: as `moves_of` and `move_in_place`.
    """
    if cleaning.form != "folder":
        what = "a table" if cleaning.form == "table" else "no folder of images"
        raise InvalidSettingError(
            f"{cleaning.path} is {what}, and is never written over; write a cleaned one with --to."
        )
    return move_in_place(cleaning.path, moves_of(cleaning))


@dataclass(frozen=True)
class HandedOver:
    """Cleaned data for somebody who looks at a page."""

    sentence: str  # what is different in them
    table: pd.DataFrame  # `changes`
    file_name: str  # of a file to take away: the cleaned file, or what is to be changed in a folder as CSV
    content: bytes  # of that file
    copy_to: Path | None  # where a cleaned copy of a folder would go; None for a file
    arguments: tuple[str, ...]  # of the program, which make that copy; empty for a file


def hand_over(run: Run, path: Path | None = None) -> HandedOver:
    """What the review of a run comes to in its data, to look at and to take away; errors are those of `write_cleaned`.

    Args:
        run: whose labels were reviewed.
        path: where its data lie now, if they moved.
    """
    cleaning = cleaned_by_review(run, path)
    data = cleaning.path
    mended, left_out = counted(cleaning.n_relabelled, "label"), counted(cleaning.n_left_out, "example")
    sentence = f"{mended} mended, {left_out} left out of {data.name}."
    to: Path | None = None
    words: list[str] = []
    if cleaning.form == "folder" or data.is_dir():
        to = data.with_name(f"{data.stem}-cleaned{data.suffix}")
        applied = ["--apply"] if cleaning.form == "folder" else []
        words = ["cleaned", str(run.path), *applied, "--to", str(to), *(["--source", str(path)] if path else [])]
    return HandedOver(sentence, changes(cleaning), *_file_of(cleaning), to, tuple(words))


def _file_of(cleaning: Cleaning) -> tuple[str, bytes]:
    """Name and content of a file to hand over."""
    path = cleaning.path
    with tempfile.TemporaryDirectory() as folder:
        if cleaning.form != "folder" and path.is_file():
            ending = table_ending(path)
            file = Path(folder) / f"{path.name[: len(path.name) - len(ending)]}-cleaned{ending}"
            write_cleaned(cleaning, file)
        else:
            what = "moves" if cleaning.form == "folder" else "changes"
            file = Path(folder) / f"{cleaning.run_name}-{what}.csv"
            write_changes(cleaning, file)
        return file.name, file.read_bytes()
