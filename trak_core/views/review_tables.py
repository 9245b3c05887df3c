"""What a review comes to, as tables and files: every verdict, the cleaned labels, and what is to be removed.

Files of labels are written for other programs, and read back from wherever labels were cleaned: CSV (UTF-8) or Parquet
with a column train_idx or origin that says which example is meant, and a column new_label (number or name of a class)
or new_label_name; others are not looked at. The new label is empty where the example is to be removed. Train examples
that the file does not name keep their labels.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from trak_core.errors import InvalidDataError, InvalidSettingError, NotInRunError
from trak_core.store.files import replace_file
from trak_core.store.retrainings import Corrections
from trak_core.store.reviews import ReviewLog, Verdict
from trak_core.store.run import Run
from trak_core.views.retraining import corrections_of
from trak_core.views.review import standing_log

_COLUMNS = {
    "train_idx": "int64",
    "origin": "string",
    "label": "int64",
    "label_name": "string",
    "new_label": "Int64",
    "new_label_name": "string",
    "verdict": "string",
    "reviewer": "string",
    "note": "string",
    "reviewed_at": "datetime64[us]",
}
_EXAMPLE, _NEW = ("train_idx", "origin"), ("new_label", "new_label_name")
"""Columns of a file of labels: one of each kind is needed."""
Row = tuple[str, dict[str, str | None]]
"""Where a row is, and its cells of those columns."""
_NUMBER = re.compile(r"([0-9]{1,9})(?:\.0*)?")
"""Tables with empty cells come back from other programs with 3.0 for 3."""


def verdict_table(run: Run, log: ReviewLog) -> pd.DataFrame:
    """What stands of every reviewer, by train_idx, the last verdict on an example last.

    Returns:
        A table with the columns train_idx, origin (the file or row that it came from), label, label_name, new_label,
        new_label_name, verdict, reviewer, note and reviewed_at (UTC). The new label is the given one for "keep" and
        "unsure", and missing for "exclude".
    """
    log = standing_log(run, log)
    standing = sorted(log.by_reviewer.values(), key=lambda verdict: (verdict.train_idx, verdict.verdict_id))
    origins = run.origins("train")
    return _frame([_row(run, verdict.train_idx, origins, verdict) for verdict in standing])


def cleaned_labels(run: Run, log: ReviewLog) -> pd.DataFrame:
    """All train examples with the labels to train on: as `verdict_table`, one row each.

    Where reviewers differ, the last verdict counts. An example nobody reviewed keeps its label and has no verdict; an
    excluded one has no new label.
    """
    log = standing_log(run, log)
    origins = run.origins("train")
    return _frame([_row(run, idx, origins, log.latest.get(idx)) for idx in range(run.info.n_train)])


def removal_list(run: Run, log: ReviewLog) -> pd.DataFrame:
    """Train examples whose last verdict is "exclude", by number: as `verdict_table`."""
    log = standing_log(run, log)
    origins = run.origins("train")
    return _frame([_row(run, idx, origins, log.latest[idx]) for idx in log.excluded])


def _row(run: Run, train_idx: int, origins: Sequence[str | None], verdict: Verdict | None) -> tuple[object, ...]:
    names, label = run.info.class_names, run.label("train", train_idx)
    known = (train_idx, origins[train_idx], label, names[label])
    if verdict is None:
        return (*known, label, names[label], None, None, None, None)
    new = {"relabel": verdict.new_label, "exclude": None}.get(verdict.verdict, label)
    new_name = None if new is None else names[new]
    said = (verdict.verdict, verdict.reviewer, verdict.note, verdict.reviewed_at)
    return (*known, new, new_name, *said)


def _frame(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(_COLUMNS)).astype(_COLUMNS)


def write_label_file(run: Run, log: ReviewLog, path: Path, overwrite: bool = False) -> Corrections:
    """What the labels correct that were written. The file is there in one step: whole, or as it was before.

    Raises:
        NotInRunError: the run has no labels.
        InvalidSettingError: the path has another ending, or is there already.
        StorageError: it cannot be written, because the disk is full, say; what was there stays.
    """
    if not run.info.has_classes:
        raise NotInRunError(f"run {run.info.name!r} has numbers as targets and no labels to write.")
    ending = _ending(path)
    _check_free(path, overwrite)
    table = cleaned_labels(run, log)

    def write(temporary: Path) -> None:
        _check_free(path, overwrite)  # once more: the table took a moment
        if ending == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)

    replace_file(path, write)
    return corrections_of(run, log)


def _check_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise InvalidSettingError(f"{path} is there already and was not changed; give --overwrite or another name.")


def read_label_file(run: Run, path: Path) -> Corrections:
    """What a CSV or Parquet file of labels corrects in the labels of the run.

    Raises:
        NotInRunError: the run has no labels.
        InvalidDataError: the file cannot be read, lacks a column, or holds a value that is no train example or no class
            of the run; the message names the file and the row.
        InvalidSettingError: the path has another ending.
    """
    if not run.info.has_classes:
        raise NotInRunError(f"run {run.info.name!r} has numbers as targets and no labels to try others for.")
    read = _csv_rows if _ending(path) == ".csv" else _parquet_rows
    if not path.is_file():
        raise InvalidDataError(f"there is no file {path}; give a CSV or Parquet file of labels.")
    try:
        new = dict(_checked(run, path, read(path)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        said = getattr(error, "strerror", None) or error
        refusal = f"{path} cannot be read as labels ({said}); give a CSV (UTF-8) or Parquet file."
        raise InvalidDataError(refusal) from error
    changed = {idx: label for idx, label in sorted(new.items()) if label != run.label("train", idx)}
    relabelled = tuple((idx, label) for idx, label in changed.items() if label is not None)
    return Corrections(relabelled, tuple(idx for idx, label in changed.items() if label is None))


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise InvalidSettingError(f"{path} ends in {ending!r}; name a file that ends in .csv or .parquet.")
    return ending


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        known = _known_columns(path, list(reader.fieldnames or []))
        for row in reader:
            yield f"line {reader.line_num}", {name: row[name] for name in known}


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        table = pd.read_parquet(path)
    except ValueError as error:  # Arrow says so of files that are no Parquet
        raise OSError(str(error).splitlines()[0]) from error
    known = _known_columns(path, [str(name) for name in table.columns])
    for place, values in enumerate(zip(*(table[name] for name in known), strict=True), start=1):
        cells = ("" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value) for value in values)
        yield f"row {place}", dict(zip(known, cells, strict=True))


def _known_columns(path: Path, columns: list[str]) -> list[str]:
    missing = [names[0] for names in (_EXAMPLE, _NEW) if not set(names) & set(columns)]
    if missing:
        there = ", ".join(columns[:12])[:200] or "none"
        raise InvalidDataError(
            f"{path} has no column {' and no column '.join(missing)}; its columns are: {there}. Labels need "
            "train_idx (or origin) and new_label (or new_label_name), as `python -m trak_core labels` writes them."
        )
    return [name for name in (*_EXAMPLE, *_NEW) if name in columns]


def _checked(run: Run, path: Path, rows: Iterator[Row]) -> Iterator[tuple[int, int | None]]:
    """Train example and new label of each row, None for what is to be left out."""
    seen: dict[int, str] = {}
    origins = run.origins("train")
    places: dict[str, list[int]] = {}
    for idx, origin in enumerate(origins):
        if origin is not None:
            places.setdefault(origin, []).append(idx)
    for where, cells in rows:
        if "train_idx" in cells:
            idx = _numbered(run, f"{path}, {where}", cells, origins)
        else:
            idx = _named(run, f"{path}, {where}", cells["origin"], places)
        if idx in seen:
            raise InvalidDataError(
                f"{path}, {where}: train example {idx} was given on {seen[idx]} already; keep one row for each."
            )
        seen[idx] = where
        yield idx, _new_label(run, f"{path}, {where}", idx, cells)


def _numbered(run: Run, place: str, cells: dict[str, str | None], origins: Sequence[str | None]) -> int:
    """The train example of that number, which came from where the row says, if it says so."""
    idx, said = _number(cells["train_idx"]), (cells.get("origin") or "").strip()
    if idx is None or idx >= run.info.n_train:
        raise InvalidDataError(
            f"{place}: train_idx is {_shown(cells['train_idx'])}, and run {run.info.name!r} has train examples 0 to "
            f"{run.info.n_train - 1}; fix that row."
        )
    if said and said != origins[idx]:
        raise InvalidDataError(
            f"{place}: train example {idx} of run {run.info.name!r} came from {_shown(origins[idx])}, and the row says "
            f"{_shown(said)}; the file belongs to another run, so leave out its column train_idx or origin."
        )
    return idx


def _named(run: Run, place: str, cell: str | None, places: dict[str, list[int]]) -> int:
    """The one train example that came from there."""
    found = places.get((cell or "").strip(), [])
    if len(found) != 1:
        listed = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
        why = f"train examples {listed} came" if found else "no train example came"
        raise InvalidDataError(
            f"{place}: origin is {_shown(cell)}, and {why} from there in run {run.info.name!r}; give the train_idx of "
            "the one that is meant."
        )
    return found[0]


def _new_label(run: Run, place: str, idx: int, cells: dict[str, str | None]) -> int | None:
    """The class that a row names by number or by name; None where it names none."""
    names, column = run.info.class_names, "new_label" if "new_label" in cells else "new_label_name"
    cell = cells[column]
    if cell is not None and not cell.strip():
        return None
    number = _number(cell) if column == "new_label" else None
    name = unicodedata.normalize("NFC", (cell or "").strip())
    # Digits in new_label are the number of a class, even where a class is called by other digits.
    if number is None and name in names:
        return names.index(name)
    if number is None or number >= len(names):
        raise InvalidDataError(
            f"{place}: {column} is {_shown(cell)}; give the number of a class, 0 to {len(names) - 1}, or leave "
            f"it empty to leave train example {idx} out; the name of a class is taken as well."
        )
    return number


def _number(cell: str | None) -> int | None:
    found = _NUMBER.fullmatch((cell or "").strip())
    return int(found[1]) if found else None


def _shown(cell: str | None) -> str:
    return "missing" if cell is None else repr(cell[:40])
