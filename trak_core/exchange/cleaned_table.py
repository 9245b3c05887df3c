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

from trak_core.datasets.csv_rows import csv_form
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.rows import Example
from trak_core.datasets.table import CSV, JSON, csv_options, table_kind, table_rows
from trak_core.datasets.text_files import find_encoding, is_gzip
from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.exchange.cleaned import Cleaning
from trak_core.exchange.cleaned_parquet import write_parquet
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
        StorageError: it cannot be written, because the disk is full, say; what was there stays.
    """
    path = cleaning.source.data.path
    if table_ending(to) != table_ending(path):
        raise InvalidSettingError(
            f"{to} ends in {table_ending(to)!r}, and cleaned data have the form of {path.name}; name a file that ends "
            f"in {table_ending(path)}."
        )
    check_new_file(to, overwrite)
    if to.exists() and to.samefile(path):
        raise InvalidSettingError(f"{to} is the table that the run was built from; give the cleaned one another name.")
    before = table_rows(path, cleaning.source.data.options)
    changes = _changes(cleaning, before)

    def write(temporary: Path) -> None:
        # Under a name with its ending, so that it can be read as what it is.
        whole = temporary.with_name(f"{temporary.name}{table_ending(path)}")
        try:
            _write(cleaning.source.data, whole, changes)
            _refuse_other_changes(cleaning.source.data, before, whole, changes)
            os.replace(whole, temporary)
        finally:
            whole.unlink(missing_ok=True)

    replace_file(to, write)


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


def _changes(cleaning: Cleaning, before: list[Example | Skipped]) -> _Changes:
    classes = {row_of(origin): name for origin, name in cleaning.source.classes.items()}
    rows: dict[str, dict[Any, list[int]]] = defaultdict(lambda: defaultdict(list))
    for item in before:
        if isinstance(item, Example) and (row := row_of(str(item.origin))) in classes:
            rows[classes[row]][repr(item.label)].append(row)
    usual = {name: max(written.values(), key=len)[0] for name, written in rows.items()}
    donors = {}
    for one in cleaning.mended:
        if one.new_label is not None:
            if one.new_label not in usual:
                raise InvalidDataError(
                    f"{cleaning.source.data.path} has no row of the class {one.new_label!r} any more, so that nothing "
                    f"tells how it is written; {one.origin} cannot be mended."
                )
            donors[row_of(one.origin)] = usual[one.new_label]
    left_out = {row_of(one.origin) for one in cleaning.mended if one.new_label is None}
    if len(left_out) == len(before):
        raise InvalidDataError(f"every row of {cleaning.source.data.path} would be left out; keep some.")
    return _Changes(donors, left_out)


def _write(data: CustomData, to: Path, changes: _Changes) -> None:
    kind, column = table_kind(data.path), str(data.options["label"])
    if kind not in (CSV, JSON):
        write_parquet(data.path, to, column, changes.donors, changes.left_out)
        return
    packed = is_gzip(data.path)
    content = gzip.decompress(data.path.read_bytes()) if packed else data.path.read_bytes()
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = _encoding(find_encoding(data.path, data.options.get("encoding")), mark)
    errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = content[len(mark) :].decode(encoding, errors)
    if text.encode(encoding, errors) != content[len(mark) :]:
        raise InvalidDataError(
            f"{data.path} cannot be written again byte for byte in {encoding.upper()}; save it as UTF-8 and build the "
            "run again."
        )
    in_array = kind == JSON and text.lstrip().startswith("[")
    if kind == CSV:
        dialect, wanted = csv_form(data.path, *csv_options(data.options))
        places = csv_places(text, dialect, wanted[1])
    else:
        places = (json_array_places if in_array else json_line_places)(text, column)
    labelled = {*changes.donors, *changes.donors.values()}
    found = {row for row, place in places.items() if row not in labelled or place.label is not None}
    if lost := sorted({*labelled, *changes.left_out} - found):
        raise InvalidDataError(f"row {lost[0]} of {data.path} or its label cannot be found; nothing was written.")
    new = mark + mended(text, places, changes.donors, changes.left_out, in_array).encode(encoding, errors)
    to.write_bytes(gzip.compress(new, mtime=0) if packed else new)


def _encoding(found: str, mark: bytes) -> str:
    """The encoding of what follows a mark: with the order of bytes that it tells, and without a mark of its own."""
    if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF32_LE):
        return f"{found.removesuffix('-le')}-le"
    if mark in (codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE):
        return f"{found.removesuffix('-be')}-be"
    return found.removesuffix("-sig")


def _refuse_other_changes(data: CustomData, before: list[Example | Skipped], to: Path, changes: _Changes) -> None:
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
    found = [said(item, None if isinstance(item, Skipped) else item.label) for item in table_rows(to, data.options)]
    if found != expected:
        raise InvalidDataError(
            f"{data.path} cannot be written with other labels so that nothing else changes in it; write the labels as "
            "a table of their own with `python -m trak_core labels`."
        )
