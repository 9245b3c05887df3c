"""Tables of texts: CSV, TSV, JSON and Parquet."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from trak_core.datasets.arrow_files import PARQUET, preview, read_parquet_rows
from trak_core.datasets.csv_rows import csv_preview, read_csv_rows
from trak_core.datasets.json_rows import json_records, read_json_rows
from trak_core.datasets.missing import missing_words
from trak_core.datasets.placing import DataSource, texts_of
from trak_core.datasets.rows import Example, Rows
from trak_core.datasets.sources import tidy
from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import RawData, Skipped

CSV = (".csv", ".tsv", ".tab", ".txt")
JSON = (".jsonl", ".ndjson", ".json")
N_SAMPLED = 50
"""Rows that the names of columns are taken from, and what is in them."""


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
    missing: str | None = None,
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
        missing: words that stand for a missing label or text, with commas between them; None for those of pandas.

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
    items: list[Example | Skipped] = []
    notes: list[str] = []
    declared: tuple[str, ...] | None = None
    tables = [(path, None)] if test is None else [(path, "train"), (Path(test), "test")]
    for table, name in tables:
        rows = _read_rows(table, columns, not no_header, delimiter, encoding, _ADVICE if table is not path else "")
        if table is path:
            declared = rows.class_names
        elif declared is not None:
            rows = _with_classes(rows, declared, table)
        items += [_in_split(item, name, split is not None) for item in rows.items]
        notes += rows.notes
    source = DataSource(_name(path), str(path), test_share, seed, declared, missing_words(missing))
    return texts_of(items, source, notes)


def table_preview(
    path: Path, no_header: bool = False, encoding: str | None = None, delimiter: str | None = None
) -> tuple[list[str], list[list[Any]]]:
    """The names of the columns of a table and its first rows, without reading it whole; see `read_table`.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the table cannot be read.
        InvalidSettingError: a setting that cannot be.
    """
    kind = table_kind(path)
    if kind == CSV:
        names, rows = csv_preview(path, not no_header, encoding, delimiter)
        return names, [list(row) for row in rows]
    if kind == PARQUET:
        return preview(path, N_SAMPLED)
    objects = [record for _, record in islice(json_records(path), N_SAMPLED) if isinstance(record, dict)]
    names = list(dict.fromkeys(key for record in objects for key in record))
    return names, [[record.get(name) for name in names] for record in objects]


def csv_options(options: Mapping[str, Any]) -> tuple[list[str], bool, str | None, str | None]:
    """The columns, whether there is a header, the delimiter and the encoding, out of the options of `read_table`."""
    columns = [options[name] for name in ("text", "label", "split") if options.get(name) is not None]
    return columns, not options.get("no_header"), options.get("delimiter"), options.get("encoding")


def _with_classes(rows: Rows, declared: Sequence[str], path: Path) -> Rows:
    """The rows of a test table with the numbers of the classes that the train table declares.

    Raises:
        InvalidDataError: it declares others.
    """
    if rows.class_names is not None and list(rows.class_names) != list(declared):
        raise InvalidDataError(
            f"{path} declares the classes {', '.join(rows.class_names)[:200]}, and the train table declares "
            f"{', '.join(declared)[:200]}; give tables of the same data set."
        )
    number = {name: number for number, name in enumerate(declared)}
    numbers = {str(number): number for number in range(len(declared))}
    found: list[Example | Skipped] = []
    for item in rows.items:
        if isinstance(item, Example) and isinstance(item.label, str):
            label = item.label.strip()
            item = replace(item, label=number.get(label, numbers.get(label, item.label)))
        found.append(item)
    return replace(rows, items=found)


def _name(path: Path) -> str:
    """Of the data: that of the file, without its ending."""
    return tidy(path.with_suffix("").stem if path.suffix.lower() == ".gz" else path.stem)


_ADVICE = (
    "Test examples need their labels; where this table has none, leave it out, and some of the train rows are held out."
)


def read_rows(
    path: Path,
    columns: Sequence[str],
    has_header: bool = True,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Rows:
    """The rows of a table of any kind with the values of up to three columns: content, label and split.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the table cannot be read, or has no such column.
    """
    return _read_rows(path, columns, has_header, delimiter, encoding, "")


def _read_rows(
    path: Path, columns: Sequence[str], has_header: bool, delimiter: str | None, encoding: str | None, advice: str
) -> Rows:
    kind = table_kind(path)
    if kind == CSV:
        return read_csv_rows(path, columns, has_header, delimiter, encoding, advice)
    return (read_json_rows if kind == JSON else read_parquet_rows)(path, columns, advice)


def table_kind(path: Path) -> tuple[str, ...]:
    """The endings of tables of the kind that a file has: `CSV`, `JSON` or `PARQUET`.

    Raises:
        InvalidDataError: it has none of them.
    """
    name = path.name.lower().removesuffix(".gz")
    for kind in (CSV, JSON, PARQUET):
        if name.endswith(kind):
            return kind
    raise InvalidDataError(
        f"{path} has an ending that is not known; a table ends in {', '.join(CSV + JSON)} (packed with gzip or not), "
        f"{' or '.join(PARQUET)}."
    )


def _in_split(item: Example | Skipped, split: str | None, has_column: bool) -> Example | Skipped:
    """The item in that split, or in the one that its row names where a column is for that."""
    if isinstance(item, Skipped):
        return item
    if has_column:
        split = "" if item.split is None else str(item.split)
    return replace(item, split=split)
