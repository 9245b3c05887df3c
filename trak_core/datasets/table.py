"""Tables of texts: CSV, TSV, JSON and Parquet."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from trak_core.datasets.arrow_files import PARQUET, read_parquet_rows, read_schema
from trak_core.datasets.csv_rows import csv_columns, read_csv_rows
from trak_core.datasets.placing import DataSource, texts_of
from trak_core.datasets.rows import Example, Rows, find_column, is_decodable, refuse_if_most_are_lost
from trak_core.datasets.text_files import MAX_TEXT, find_encoding, iter_lines, open_text
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import RawData, Skipped

CSV = (".csv", ".tsv", ".tab", ".txt")
JSON = (".jsonl", ".ndjson", ".json")
N_SAMPLED = 50
"""Objects that the names of columns are taken from."""


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
    items: list[Example | Skipped] = []
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
    if kind == PARQUET:
        return list(read_schema(path).names)
    objects = (record for _, record in islice(_json_records(path), N_SAMPLED) if isinstance(record, dict))
    return list(dict.fromkeys(key for record in objects for key in record))


def _name(path: Path) -> str:
    """Of the data: that of the file, without its ending."""
    return path.with_suffix("").stem if path.suffix.lower() == ".gz" else path.stem


def _read_rows(
    path: Path, columns: Sequence[str], has_header: bool, delimiter: str | None, encoding: str | None
) -> Rows:
    kind = _kind(path)
    if kind == CSV:
        return read_csv_rows(path, columns, has_header, delimiter, encoding)
    return _read_json_rows(path, columns) if kind == JSON else read_parquet_rows(path, columns)


def _kind(path: Path) -> tuple[str, ...]:
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


def _read_json_rows(path: Path, columns: Sequence[str]) -> Rows:
    """The objects of a file of JSON lines or of one JSON array; an object need not have all keys."""
    items: list[Example | Skipped] = []
    keys: dict[str, None] = {}
    for number, (place, record) in enumerate(_json_records(path), start=1):
        where = f"{path.name}, row {number}"
        values = [record.get(column) for column in columns] if isinstance(record, dict) else []
        if isinstance(record, dict) and is_decodable(values):
            keys.update(dict.fromkeys(record))
            items.append(Example(where, *values, origin=f"{path.name}:{place}"))
        else:
            items.append(Skipped(where, "it is no JSON object in UTF-8"))
    if not items:
        raise EmptyDataError(f"{path} is empty; give a JSON object for each example.")
    refuse_if_most_are_lost(items, str(path), "give one JSON object a line, or an array of them")
    for column in columns:
        find_column(column, tuple(keys), str(path))
    return Rows(items)


def _json_records(path: Path) -> Iterator[tuple[int, Any]]:
    """What the lines of a JSON file hold, or the members of its one array, each with its number from 1 in the file.

    None stands for a line without JSON.
    """
    encoding = find_encoding(path, None)
    if not encoding.startswith("utf-8"):
        raise InvalidDataError(f"{path} is {encoding.upper()}, and JSON is read as UTF-8; save it anew.")
    with open_text(path, encoding) as text:
        while (first := text.read(1)).isspace():
            pass
        if first == "[":
            try:
                members = json.loads(first + text.read(MAX_TEXT))
            except (ValueError, RecursionError) as error:
                raise InvalidDataError(
                    f"{path} cannot be read (malformed JSON: {error}); check it, or save it anew."
                ) from error
            yield from enumerate(members, start=1)
            return
        text.seek(0)
        for number, line in enumerate(iter_lines(text, path), start=1):
            if line.strip():
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):  # also numbers of thousands of digits, and brackets as deep
                    record = None
                yield number, record
