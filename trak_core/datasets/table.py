"""Tables of texts: CSV, TSV, JSON and Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trak_core.datasets.csv_rows import csv_columns, read_csv_rows
from trak_core.datasets.duckdb_rows import json_columns, parquet_columns, read_json_rows, read_parquet_rows
from trak_core.datasets.placing import Example, place
from trak_core.datasets.rows import Row, Rows
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import LeftOut, RawData, RawSplit

MAX_CHARACTERS = 1_000_000
"""Of a text."""
CSV = (".csv", ".tsv", ".tab", ".txt")
JSON = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")


def read_table(
    path: Path | str,
    text_column: str,
    label_column: str,
    split_column: str | None = None,
    test_path: Path | str | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    has_header: bool = True,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> RawData:
    """The texts of a table with their labels.

    The kind of table is told by its ending: .csv, .tsv, .tab or .txt (also with .gz), .jsonl, .ndjson or .json (also
    with .gz), .parquet or .pq. Rows that do not hold up are left out, each with its number from 1.

    Args:
        path: of the table.
        text_column: the name of the column of texts; in a CSV file without a header, its number from 1.
        label_column: likewise, of labels: names, whole numbers, or true and false.
        split_column: likewise, of words that say whether a row is for train, test, or validation (dev).
        test_path: of a second table with the same columns, of test examples.
        test_share: of each class, put aside where no split or table is given.
        seed: of that draw.
        has_header: whether the first row of a CSV file holds the names of the columns.
        delimiter: between the fields of a CSV file; None for the one of comma, tab, `;` and `|` that suits.
        encoding: of a CSV file, such as "latin-1"; None for UTF-8, or what a mark at the beginning says.

    Raises:
        EmptyDataError: there is no row, or none that can be used.
        InvalidDataError: a table cannot be read, has no such column, or has one class only.
        InvalidSettingError: a setting that cannot be.
        LabelError: the labels are decimal numbers, or too many to be classes.
    """
    columns = [text_column, label_column] + ([] if split_column is None else [split_column])
    if len(set(columns)) < len(columns):
        raise InvalidSettingError(f"the columns given are {', '.join(columns)}; give a column of its own for each.")
    if split_column is not None and test_path is not None:
        raise InvalidSettingError(
            f"split_column is {split_column!r} and test_path is {str(test_path)!r}; give one of the two."
        )
    path = Path(path)
    items: list[Example | LeftOut] = []
    notes: list[str] = []
    tables = [(path, None)] if test_path is None else [(path, "train"), (Path(test_path), "test")]
    for table, split in tables:
        rows = _read_rows(table, columns, has_header, delimiter, encoding)
        items += [_example(item, split, split_column) for item in rows.items]
        notes += rows.notes
    return texts_of(_name(path), items, str(path), notes, test_share, seed)


def table_columns(
    path: Path, has_header: bool = True, delimiter: str | None = None, encoding: str | None = None
) -> list[str]:
    """The names of the columns of a table, without reading it whole; see `read_table`.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the table cannot be read.
        InvalidSettingError: a setting that cannot be.
    """
    kind = _kind(path)
    if kind == CSV:
        return csv_columns(path, has_header, delimiter, encoding)
    return json_columns(path) if kind == JSON else parquet_columns(path)


def texts_of(
    name: str,
    items: Sequence[Example | LeftOut],
    source: str,
    notes: Sequence[str],
    test_share: float,
    seed: int,
    class_names: Sequence[str] | None = None,
) -> RawData:
    """Examples of texts as data; those without a text are left out.

    Args:
        name: of the data.
        items: examples, and what was left out before, in the order of the source.
        source: for messages.
        notes: that there are already.
        test_share: see `place`.
        seed: see `place`.
        class_names: see `place`.

    Raises:
        EmptyDataError: no example has a text.
        InvalidDataError: see `place`.
    """
    left_out: list[LeftOut] = []
    examples: list[Example] = []
    for item in items:
        if isinstance(item, LeftOut):
            left_out.append(item)
        elif why := _why_no_text(item.content):
            left_out.append(LeftOut(item.where, why))
        else:
            examples.append(item)
    if not examples:
        raise EmptyDataError(f"{source} has no row that can be used: {left_out[0].where}: {left_out[0].why}.")
    order = {item.where: number for number, item in enumerate(items)}
    placed = place(examples, source, test_share, seed, class_names)
    return RawData(
        name=name,
        modality="text",
        class_names=placed.class_names,
        train=RawSplit([example.content for example in placed.train], placed.train_labels),
        test=RawSplit([example.content for example in placed.test], placed.test_labels),
        left_out=tuple(sorted((*left_out, *placed.left_out), key=lambda one: order[one.where])),
        notes=(*notes, *placed.notes),
    )


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


def _example(item: Row | LeftOut, split: str | None, split_column: str | None) -> Example | LeftOut:
    if isinstance(item, LeftOut):
        return item
    text, label, *named = item.values
    if split_column is not None:
        split = "" if named[0] is None else str(named[0])
    return Example(item.where, text, label, split)


def _why_no_text(content: Any) -> str | None:
    """Why something is no text to learn from; None if it is one."""
    if content is None or (isinstance(content, str) and not content.strip()):
        return "it has no text"
    if not isinstance(content, str):
        return f"its text is {str(content)[:40]!r}, which is no string but of the type {type(content).__name__}"
    if len(content) > MAX_CHARACTERS:
        return f"its text has {len(content):,} characters, and at most {MAX_CHARACTERS:,} are read"
    return None
