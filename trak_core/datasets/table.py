"""Tables of texts: CSV, TSV, JSON and Parquet."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trak_core.datasets.csv_rows import csv_columns, read_csv_rows
from trak_core.datasets.duckdb_rows import json_columns, parquet_columns, read_json_rows, read_parquet_rows
from trak_core.datasets.placing import DataSource, place
from trak_core.datasets.rows import Example, Rows
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import LeftOut, RawData

MAX_CHARACTERS = 1_000_000
"""Of a text."""
CSV = (".csv", ".tsv", ".tab", ".txt")
JSON = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")


def read_table(
    path: Path | str,
    text: str,
    label: str,
    split: str | None = None,
    test: Path | str | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    no_header: bool = False,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> RawData:
    """The texts of a table with their labels.

    The kind of table is told by its ending: .csv, .tsv, .tab or .txt (also with .gz), .jsonl, .ndjson or .json (also
    with .gz), .parquet or .pq. Rows that do not hold up are left out, each with its number from 1.

    Args:
        path: of the table.
        text: the name of the column of texts; in a CSV file without a header, its number from 1.
        label: likewise, of labels: names, whole numbers, or true and false.
        split: likewise, of words that say whether a row is for train, test, or validation (dev).
        test: path of a second table with the same columns, of test examples.
        test_share: of each class, held out where no split or table is given.
        seed: of that draw.
        no_header: whether the first row of a CSV file is an example already.
        delimiter: between the fields of a CSV file; None for the one of comma, tab, `;` and `|` that suits.
        encoding: of a CSV file, such as "latin-1"; None for UTF-8, or what a mark at the beginning says.

    Raises:
        EmptyDataError: there is no row, or none that can be used.
        InvalidDataError: a table cannot be read, has no such column, or has one class only.
        InvalidSettingError: a setting that cannot be.
        LabelError: the labels are decimal numbers, or too many to be classes.
    """
    columns = [text, label] + ([] if split is None else [split])
    if len(set(columns)) < len(columns):
        raise InvalidSettingError(f"the columns given are {', '.join(columns)}; give a column of its own for each.")
    if split is not None and test is not None:
        raise InvalidSettingError(f"split is {split!r} and test is {str(test)!r}; give one of the two.")
    path = Path(path)
    source = DataSource(_name(path), str(path), test_share, seed)
    items: list[Example | LeftOut] = []
    notes: list[str] = []
    tables = [(path, None)] if test is None else [(path, "train"), (Path(test), "test")]
    for table, name in tables:
        rows = _read_rows(table, columns, not no_header, delimiter, encoding)
        items += [_in_split(item, name, split is not None) for item in rows.items]
        notes += rows.notes
    return texts_of(items, source, notes)


def table_columns(path: Path, no_header: bool = False, encoding: str | None = None) -> list[str]:
    """The names of the columns of a table, without reading it whole; see `read_table`.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the table cannot be read.
        InvalidSettingError: a setting that cannot be.
    """
    kind = _kind(path)
    if kind == CSV:
        return csv_columns(path, not no_header, encoding)
    return json_columns(path) if kind == JSON else parquet_columns(path)


def texts_of(items: Sequence[Example | LeftOut], source: DataSource, notes: Sequence[str]) -> RawData:
    """Examples of texts as data, see `place`; those without a text are left out too.

    Raises:
        EmptyDataError: no example has a text.
    """
    checked = [_without_text(item) or item for item in items]
    if not any(isinstance(item, Example) for item in checked):
        first = next(item for item in checked if isinstance(item, LeftOut))
        raise EmptyDataError(f"{source.where} has no row that can be used: {first.where}: {first.why}.")
    return place(checked, source, "text", notes)


def _name(path: Path) -> str:
    """Of the data: that of the file, without its ending."""
    return path.with_suffix("").stem if path.suffix.lower() == ".gz" else path.stem


def _read_rows(
    path: Path, columns: Sequence[str], has_header: bool, delimiter: str | None, encoding: str | None
) -> Rows:
    kind = _kind(path)
    if kind == CSV:
        return read_csv_rows(path, columns, has_header, delimiter, encoding)
    return read_json_rows(path, columns) if kind == JSON else read_parquet_rows(path, columns)


def _kind(path: Path) -> tuple[str, ...]:
    name = path.name.lower().removesuffix(".gz")
    for kind in (CSV, JSON, PARQUET):
        if name.endswith(kind):
            return kind
    raise InvalidDataError(
        f"{path} has an ending that is not known; a table ends in {', '.join(CSV + JSON)} (packed with gzip or not), "
        f"{' or '.join(PARQUET)}."
    )


def _in_split(item: Example | LeftOut, split: str | None, has_column: bool) -> Example | LeftOut:
    """The item in that split, or in the one that its row names where a column is for that."""
    if isinstance(item, LeftOut):
        return item
    if has_column:
        split = "" if item.split is None else str(item.split)
    return replace(item, split=split)


def _without_text(item: Example | LeftOut) -> LeftOut | None:
    """Why an example has no text to learn from; None if it has one."""
    if isinstance(item, LeftOut):
        return item
    content = item.content
    if content is None or (isinstance(content, str) and not content.strip()):
        return LeftOut(item.where, "it has no text")
    if not isinstance(content, str):
        kind = type(content).__name__
        return LeftOut(item.where, f"its text is {str(content)[:40]!r}, which is no string but of the type {kind}")
    if len(content) > MAX_CHARACTERS:
        return LeftOut(item.where, f"its text has {len(content):,} characters, and at most {MAX_CHARACTERS:,} are read")
    return None
