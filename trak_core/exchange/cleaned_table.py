"""A table with mended labels: the same file but for these, whatever its form, and read again before it takes its name.

A label is mended by taking over how another row of the file writes that class, so that numbers stay numbers and quotes
stay quotes.
"""

import codecs
import gzip
import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trak_core.datasets.csv_rows import csv_form
from trak_core.datasets.rows import Example
from trak_core.datasets.table import CSV, JSON, csv_options, read_rows, table_kind
from trak_core.datasets.text_files import find_encoding, is_gzip
from trak_core.errors import InvalidDataError, InvalidSettingError, NotInRunError
from trak_core.exchange.cleaned import Cleaning
from trak_core.exchange.cleaned_parquet import read_labels, write_parquet
from trak_core.exchange.label_places import csv_places, json_array_places, json_line_places, mended
from trak_core.modalities.raw import Skipped
from trak_core.store.files import check_new_file, replace_file

MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def write_cleaned_table(cleaning: Cleaning, to: Path, overwrite: bool = False) -> None:
    """Writes the table of a run with mended labels, and without the rows that are left out.

    Everything else is as it is in the table: columns, delimiters, quotes, encoding, line ends, packing, the order of
    rows. The file is there in one step: whole, or as it was before.

    Raises:
        InvalidDataError: a row or its label cannot be found in the table, or it cannot be written as it is.
        InvalidSettingError: the path has another ending than the table, is the table itself, is there already or has no
            folder.
        NotInRunError: the labels stand in several tables, or in one inside of a zip file.
        StorageError: it cannot be written, because the disk is full, say; what was there stays.
    """
    table = _table_of(cleaning)
    ending = table_ending(table.path)
    if table_ending(to) != ending:
        raise InvalidSettingError(
            f"{to} ends in {table_ending(to)!r}, and cleaned data have the form of {table.path.name}; name a file that "
            f"ends in {ending}."
        )
    check_new_file(to, overwrite)
    if to.exists() and to.samefile(table.path):
        raise InvalidSettingError(f"{to} is the table that the run was built from; give the cleaned one another name.")
    before = table.read(table.path)
    changes = _changes(cleaning, table, before)

    def write(temporary: Path) -> None:
        # Under a name with its ending, so that it can be read as what it is.
        whole = temporary.with_name(f"{temporary.name}{ending}")
        try:
            _write(table, whole, changes)
            _refuse_other_changes(table, before, whole, changes)
            os.replace(whole, temporary)
        finally:
            whole.unlink(missing_ok=True)

    replace_file(to, write)


@dataclass(frozen=True)
class _Table:
    """The table that holds the labels, and how it is read."""

    path: Path
    columns: list[str]  # the second one is that of labels
    has_header: bool
    delimiter: str | None
    encoding: str | None
    rows: Mapping[str, int]  # number of the row that holds the label of an example, by the origin of the example

    def read(self, path: Path) -> list[Example | Skipped]:
        """The rows of this table, or of one like it."""
        return read_rows(path, self.columns, self.has_header, self.delimiter, self.encoding).items


def _table_of(cleaning: Cleaning) -> _Table:
    data, raw = cleaning.source.data, cleaning.source.raw
    if cleaning.table_of_labels is None:
        rows = {origin: row_of(origin) for origin in cleaning.source.classes}
        return _Table(cleaning.path, *csv_options(data.options), rows)
    places = {
        origin: row
        for part in (raw.test, raw.train)
        for origin, row in zip(part.origins or (), part.label_rows or (), strict=True)
        if row is not None
    }
    needed = {table for one in cleaning.mended if (table := places.get(one.origin, (None, 0))[0]) is not None}
    if lost := [one.origin for one in cleaning.mended if one.origin not in places]:
        raise NotInRunError(f"the label of {lost[0]} stands in several rows or columns, and is not mended here.")
    if len(needed) > 1 or data.path.is_file():
        where = f"inside of {data.path}" if data.path.is_file() else "in several tables"
        raise NotInRunError(
            f"the labels of the images stand {where} ({', '.join(sorted(table.file for table in needed))}), which are "
            f"not written here; write them with `python -m trak_core labels {cleaning.run_name} labels.csv`."
        )
    (told,) = needed
    rows = {origin: number for origin, (table, number) in places.items() if table == told}
    return _Table(cleaning.path, list(told.columns), told.has_header, told.delimiter, None, rows)


@dataclass(frozen=True)
class _Changes:
    """What is different in the new file; rows have the numbers that their origins have."""

    donors: Mapping[int, int]  # by row, that whose label it gets
    left_out: Collection[int]  # rows


def table_ending(path: Path) -> str:
    """The ending of a table, as ".csv" or ".csv.gz"."""
    parts = [part.lower() for part in path.suffixes]
    return "".join(parts[-2:]) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def row_of(origin: str) -> int:
    """The number of the row that an origin names."""
    return int(origin.rpartition(":")[2])


def _changes(cleaning: Cleaning, table: _Table, before: list[Example | Skipped]) -> _Changes:
    classes = {row: cleaning.source.classes[origin] for origin, row in table.rows.items()}
    written: dict[str, dict[Any, list[int]]] = defaultdict(lambda: defaultdict(list))
    for item in before:
        if isinstance(item, Example) and (row := row_of(str(item.origin))) in classes:
            written[classes[row]][repr(item.label)].append(row)
    usual = {name: max(rows.values(), key=len)[0] for name, rows in written.items()}
    donors = {}
    for one in cleaning.mended:
        if one.new_label is not None:
            if one.new_label not in usual:
                raise InvalidDataError(
                    f"{table.path} has no row of the class {one.new_label!r} any more, so that nothing tells how it is "
                    f"written; {one.origin} cannot be mended."
                )
            donors[table.rows[one.origin]] = usual[one.new_label]
    left_out = {table.rows[one.origin] for one in cleaning.mended if one.new_label is None}
    if len(left_out) == len(before):
        raise InvalidDataError(f"every row of {table.path} would be left out; keep some.")
    return _Changes(donors, left_out)


def _write(table: _Table, to: Path, changes: _Changes) -> None:
    path, kind, column = table.path, table_kind(table.path), table.columns[1]
    if kind not in (CSV, JSON):
        labels = read_labels(path, column)
        source = np.arange(len(labels))
        source[[row - 1 for row in changes.donors]] = [donor - 1 for donor in changes.donors.values()]
        write_parquet(path, to, column, labels.take(pa.array(source)), [row - 1 for row in changes.left_out])
        return
    packed = is_gzip(path)
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = _encoding(find_encoding(path, table.encoding), mark)
    errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = content[len(mark) :].decode(encoding, errors)
    if text.encode(encoding, errors) != content[len(mark) :]:
        raise InvalidDataError(
            f"{path} cannot be written again byte for byte in {encoding.upper()}; save it as UTF-8 and build the run "
            "again."
        )
    in_array = kind == JSON and text.lstrip().startswith("[")
    if kind == CSV:
        dialect, wanted = csv_form(path, table.columns, table.has_header, table.delimiter, table.encoding)
        places = csv_places(text, dialect, wanted[1])
    else:
        places = (json_array_places if in_array else json_line_places)(text, column)
    labelled = {*changes.donors, *changes.donors.values()}
    found = {row for row, place in places.items() if row not in labelled or place.label is not None}
    if lost := sorted({*labelled, *changes.left_out} - found):
        raise InvalidDataError(f"row {lost[0]} of {path} or its label cannot be found; nothing was written.")
    new = mark + mended(text, places, changes.donors, changes.left_out, in_array).encode(encoding, errors)
    to.write_bytes(gzip.compress(new, mtime=0) if packed else new)


def _encoding(found: str, mark: bytes) -> str:
    """The encoding of what follows a mark: with the order of bytes that it tells, and without a mark of its own."""
    if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE):
        return f"{found.removesuffix('-le')}-le"
    if mark in (codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE):
        return f"{found.removesuffix('-be')}-be"
    return found.removesuffix("-sig")


def _refuse_other_changes(table: _Table, before: list[Example | Skipped], to: Path, changes: _Changes) -> None:
    """Reads the new file, and refuses it if anything but what was meant differs in it.

    Raises:
        InvalidDataError: it does.
    """
    labels = {row_of(str(item.origin)): item.label for item in before if isinstance(item, Example)}

    def said(item: Example | Skipped, label: Any = None) -> str:
        return item.why if isinstance(item, Skipped) else repr((item.content, label, item.split))

    expected = []
    for item in before:
        row = 0 if isinstance(item, Skipped) else row_of(str(item.origin))
        if row not in changes.left_out:
            expected.append(said(item, labels.get(changes.donors.get(row, row))))
    found = [said(item, None if isinstance(item, Skipped) else item.label) for item in table.read(to)]
    if found != expected:
        raise InvalidDataError(
            f"{table.path} cannot be written with other labels so that nothing else changes in it; write the labels as "
            "a table of their own with `python -m trak_core labels`."
        )
