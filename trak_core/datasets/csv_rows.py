"""Rows of CSV and TSV files: a row that does not hold up is left out by its number, the others are kept.

The parser is Python's own. DuckDB's loses rows without a word behind a quotation mark that is never closed, has no
numbers of rows, and refuses files with two kinds of line ends (as of 2.0).
"""

import csv
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from trak_core.datasets.rows import Example, Rows, counted, find_column, is_decodable, refuse_if_most_are_lost
from trak_core.datasets.text_files import MAX_LINE, find_encoding, iter_lines, open_text
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import Skipped

DELIMITERS = (",", "\t", ";", "|")
N_SAMPLED = 50
MAX_LINES_LOST = 100
"""A quotation mark that hides more lines than this is refused, rather than the lines left out with it."""


@dataclass(frozen=True)
class _Layout:
    """How a file is to be read."""

    path: Path
    encoding: str
    has_header: bool
    delimiter: str
    has_quotes: bool = True


@dataclass(frozen=True)
class _Record:
    """A row as it stands in the file, from its first to its last line.

    `fault` says why it cannot be read, `opened` in which line a quotation mark opens that is still open at the end.
    """

    first: int
    last: int
    fields: list[str]
    fault: str | None = None
    opened: int | None = None

    @property
    def n_lines(self) -> int:
        return self.last - self.first + 1

    def called(self, number: int) -> str:
        """What the row of that number is called, with its lines where they have other numbers."""
        if self.n_lines > 1:
            return f"row {number} (lines {self.first} to {self.last})"
        return f"row {number}" if number == self.first else f"row {number} (line {self.first})"


@dataclass(frozen=True)
class _Reading:
    """What one layout makes of a file."""

    items: list[Example | Skipped]  # its rows
    broken: list[_Record]  # those that cannot be read, or have another number of fields than the header
    n_undecodable: int  # rows with bytes that are not of the encoding


def read_csv_rows(
    path: Path,
    columns: Sequence[str],
    has_header: bool = True,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Rows:
    """The rows of a CSV or TSV file, packed with gzip or not; the settings are those of `read_table`.

    Blank lines are no rows. Without a header, columns are called "1", "2", ...

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the file is no text, has no such column, has a quotation mark that is never closed, or more
            than half of its rows cannot be read.
        InvalidSettingError: `delimiter` is not one character, or `encoding` is not known.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InvalidSettingError(f"delimiter is {delimiter!r}; give one character, such as ',' or ';'.")
    layout = _find_layout(path, columns, has_header, delimiter, find_encoding(path, encoding))
    reading = _read(layout, columns)
    notes: list[str] = []
    if reading.broken and layout.delimiter == "\t":
        # Files with tabs are often written without quoting, so that quotation marks are text like any other.
        plain = _read(replace(layout, has_quotes=False), columns)
        if len(plain.broken) < len(reading.broken):
            reading = plain
            notes.append(f"Quotation marks in {path.name} are taken as part of its texts: they do not pair up.")
    _refuse_if_too_bad(reading, layout)
    if reading.n_undecodable:
        notes.append(
            f"{path.name} has {counted(reading.n_undecodable, 'row')} with bytes that are not "
            f"{layout.encoding.upper()}; if it was written in another encoding, such as latin-1 or cp1252, say which."
        )
    return Rows(reading.items, tuple(notes))


def csv_columns(path: Path, has_header: bool = True, encoding: str | None = None) -> list[str]:
    """The names of the columns of a CSV or TSV file, off its beginning; see `read_csv_rows`.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the file is no text, or its header cannot be read.
        InvalidSettingError: `encoding` is not known.
    """
    layout = _find_layout(path, (), has_header, None, find_encoding(path, encoding))
    return _column_names(_opening(layout), has_header)


def _find_layout(path: Path, columns: Sequence[str], has_header: bool, delimiter: str | None, encoding: str) -> _Layout:
    """The layout with the delimiter that suits the wanted columns and the first rows best."""
    has_tabs = path.name.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    candidates = [delimiter] if delimiter else sorted(DELIMITERS, key=lambda sign: has_tabs and sign != "\t")

    def fit(layout: _Layout) -> tuple[bool, int]:
        sample = _opening(layout)
        if not sample:
            raise EmptyDataError(f"{path} is empty; give a file with a row for each example.")
        names = _column_names(sample, has_header)
        n_even = sum(len(record.fields) == len(names) for record in sample)
        return all(names.count(column) == 1 for column in columns), n_even if len(names) > 1 else 0

    return max((_Layout(path, encoding, has_header, sign) for sign in candidates), key=fit)


def _opening(layout: _Layout) -> list[_Record]:
    with open_text(layout.path, layout.encoding) as text:
        return list(islice(_iter_records(iter_lines(text, layout.path), layout), N_SAMPLED))


def _column_names(opening: Sequence[_Record], has_header: bool) -> list[str]:
    """The names in the first record, or numbers for the fields of the first one that is not broken."""
    if has_header:
        return [field.strip() for field in opening[0].fields]
    first = next((record for record in opening if record.fault is None), opening[0])
    return [str(number) for number in range(1, len(first.fields) + 1)]


def _iter_records(lines: Iterator[str], layout: _Layout) -> Iterator[_Record]:
    """The records of a file, without blank lines."""
    # For the whole process, so it is only ever raised; the usual 128 KB are too few for texts.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if layout.has_quotes else csv.QUOTE_NONE
    held: list[str] = []
    is_at_end = False

    def watched() -> Iterator[str]:
        nonlocal is_at_end
        for line in lines:
            held.append(line)
            yield line
        is_at_end = True

    reader = csv.reader(watched(), delimiter=layout.delimiter, quoting=quoting, strict=True)
    n_before = 0
    while True:
        fields: list[str] = []
        fault = opened = None
        held.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:  # after which the reader goes on with the next line
            fault = "its quotation marks do not pair up"
            if is_at_end:  # only an open quotation mark makes the parser ask for more lines
                opened = n_before + _line_that_opens(held, layout.delimiter)
        if fields or fault:
            yield _Record(n_before + 1, reader.line_num, fields, fault, opened)
        n_before = reader.line_num


def _line_that_opens(lines: Sequence[str], delimiter: str) -> int:
    """The line, from 1, that opens the quotation mark which is open at the end of all; they begin with a record."""

    def n_fields(n_lines: int) -> int:
        return len(next(csv.reader(lines[:n_lines], delimiter=delimiter)))

    # The open field is the last one, and it stands in every line from the one where it opens.
    return bisect_left(range(1, len(lines) + 1), n_fields(len(lines)), key=n_fields) + 1


def _read(layout: _Layout, columns: Sequence[str]) -> _Reading:
    path, name = layout.path, layout.path.name
    items: list[Example | Skipped] = []
    broken: list[_Record] = []
    n_undecodable = 0
    with open_text(path, layout.encoding) as text:
        records = _iter_records(iter_lines(text, path), layout)
        opening = list(islice(records, N_SAMPLED))
        if layout.has_header and opening[0].fault:
            raise InvalidDataError(f"{path}, line {opening[0].first}: {opening[0].fault}; put the header right.")
        names = _column_names(opening, layout.has_header)
        advice = "Without a header, columns are called by number."
        if layout.has_header:
            advice = "Where the first row is an example, say that there is no header, and call columns 1, 2, ..."
        wanted = [find_column(column, names, str(path), advice) for column in columns]
        for number, record in enumerate(chain(opening[layout.has_header :], records), start=1):
            where = f"{name}, {record.called(number)}"
            fields = record.fields
            if record.fault or len(fields) != len(names):
                why = record.fault or f"it has {counted(len(fields), 'field')} rather than {len(names)}"
                items.append(Skipped(where, why))
                broken.append(record)
                continue
            values = [fields[column] for column in wanted]
            if is_decodable(values):
                items.append(Example(where, *values, origin=f"{name}:{record.first}"))
            else:
                items.append(Skipped(where, f"it has bytes that are not {layout.encoding.upper()}"))
                n_undecodable += 1
    return _Reading(items, broken, n_undecodable)


def _refuse_if_too_bad(reading: _Reading, layout: _Layout) -> None:
    path, items = layout.path, reading.items
    if not items:
        raise EmptyDataError(f"{path} has a header and no rows; give a row for each example.")
    faulty = [record for record in reading.broken if record.fault]
    longest = max(faulty, key=lambda record: record.n_lines, default=None)
    line, closed = 0, ""
    if faulty and faulty[-1].opened:
        line, closed = faulty[-1].opened, "never closed"
    elif longest and longest.n_lines > MAX_LINES_LOST:
        line, closed = longest.first, f"not closed before line {longest.last}"
    if closed:
        raise InvalidDataError(
            f"{path}, line {line}: a quotation mark is opened here and {closed}; put it right, or double it where it "
            "is part of a text."
        )
    refuse_if_most_are_lost(
        items,
        str(path),
        f"check the delimiter ({layout.delimiter!r}) and the encoding ({layout.encoding}; another is given as in "
        "--encoding latin-1)",
    )
