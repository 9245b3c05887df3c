"""Rows of CSV and TSV files: a row that does not hold up is left out by its number, the others are kept."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from trak_core.datasets.csv_dialect import Signs, find_dialect, other_dialects, sign_in_words
from trak_core.datasets.csv_header import Header, fits, read_header
from trak_core.datasets.csv_records import N_SAMPLED, Dialect, Record, iter_records, opening
from trak_core.datasets.rows import Example, Rows, counted, find_column, is_decodable, refuse_if_most_are_lost
from trak_core.datasets.sources import tidy
from trak_core.datasets.text_files import find_encoding, iter_lines, open_text
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import Skipped

MAX_LINES_LOST = 100
"""A quotation mark that hides more lines than this is refused, rather than the lines left out with it."""
LEAST = 3
"""Rows, at least, of which all texts stand in single quotation marks, before these are taken for quotes."""


@dataclass(frozen=True)
class _Reading:
    """What one dialect makes of a file."""

    dialect: Dialect
    items: list[Example | Skipped]  # its rows
    broken: list[Record]  # those that cannot be read, or have another number of fields than there are columns
    header: Header  # its columns
    wanted: list[int]  # the numbers of those that were asked for, from 0
    n_undecodable: int  # rows with bytes that are not of the encoding
    n_longer: int  # rows that end in delimiters beyond the last column


def read_csv_rows(
    path: Path,
    columns: Sequence[str],
    has_header: bool = True,
    delimiter: str | None = None,
    encoding: str | None = None,
    advice: str = "",
) -> Rows:
    """The rows of a CSV or TSV file, packed with gzip or not; the settings are those of `read_table`.

    Blank lines are no rows. Without a header, columns are called "1", "2", ... `advice` is a sentence on what to do
    where a column is not there.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the file is no text, has no such column, has a quotation mark that is never closed, or more
            than half of its rows cannot be read.
        InvalidSettingError: `delimiter` is not one character, or `encoding` is not known.
    """
    reading, notes = _settled(path, columns, has_header, delimiter, encoding, advice)
    return Rows(reading.items, (*notes, *_notes(reading)))


def csv_form(
    path: Path, columns: Sequence[str], has_header: bool, delimiter: str | None, encoding: str | None
) -> tuple[Dialect, list[int]]:
    """The dialect that `read_csv_rows` reads a file in, and the numbers of the columns in its rows, from 0."""
    reading, _ = _settled(path, columns, has_header, delimiter, encoding, "")
    return reading.dialect, reading.wanted


def _settled(
    path: Path, columns: Sequence[str], has_header: bool, delimiter: str | None, encoding: str | None, advice: str
) -> tuple[_Reading, list[str]]:
    """The reading in the dialect that suits a file best, and notes on that; errors are those of `read_csv_rows`."""
    delimiter = _checked(delimiter)
    dialect, decided = find_dialect(path, columns, has_header, delimiter, find_encoding(path, encoding))
    signs = Signs(dialect.delimiter)
    reading = _read(dialect, columns, signs, advice)
    notes = [*decided]
    # Nothing else speaks for these two where no row is broken: no quotes but escaped ones, no text but in quotes.
    has_only_escaped = signs.has_escaped_quotes and not signs.has_bare_quotes
    if reading.broken or has_only_escaped or _are_all_quoted(reading.items):
        reading, said = _best_reading(reading, columns, signs, advice)
        notes += said
    _refuse_if_too_bad(reading)
    return reading, notes


def _best_reading(reading: _Reading, columns: Sequence[str], signs: Signs, advice: str) -> tuple[_Reading, list[str]]:
    """The reading, or that of the first other dialect that leaves the fewest rows broken, with a note on it."""
    others = other_dialects(reading.dialect, signs)
    if not reading.broken:  # the dialect only says what stands in the texts
        others = [(other, note) for other, note in others if (other.quote == "'") == _are_all_quoted(reading.items)]
    best, said, is_sure = reading, [], not reading.broken
    for other, note in others:
        try:
            found = _read(other, columns, signs, advice)
        except InvalidDataError:  # it finds no such column
            continue
        if len(found.broken) < len(best.broken) or (is_sure and not found.broken):
            best, said, is_sure = found, [note], False
    return best, said


def _checked(delimiter: str | None) -> str | None:
    """A delimiter as it stands in files; a tab may be written as two letters or as a word, as shells pass it on.

    Raises:
        InvalidSettingError: it is not one character, or one that cannot part fields.
    """
    if delimiter in ("\\t", "tab"):
        return "\t"
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InvalidSettingError(f"delimiter is {delimiter!r}; give one character, such as ',' or ';', or tab.")
    return delimiter


def csv_preview(
    path: Path, has_header: bool = True, encoding: str | None = None, delimiter: str | None = None
) -> tuple[list[str], list[list[str]]]:
    """The names of the columns of a CSV or TSV file, and its first rows, see `read_csv_rows`.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the file is no text, or its header cannot be read.
        InvalidSettingError: `delimiter` is not one character, or `encoding` is not known.
    """
    dialect, _ = find_dialect(path, (), has_header, _checked(delimiter), find_encoding(path, encoding))
    records = opening(dialect)
    header = read_header(records, has_header)
    rows = [record.fields[: len(header.names)] for record in records[has_header:] if fits(record, header)]
    return header.names, rows


def _read(dialect: Dialect, columns: Sequence[str], signs: Signs, advice: str) -> _Reading:
    path, name = dialect.path, tidy(dialect.path.name)
    items: list[Example | Skipped] = []
    broken: list[Record] = []
    n_undecodable = n_longer = 0
    with open_text(path, dialect.encoding) as text:
        records = iter_records(signs.watch(iter_lines(text, path)), dialect)
        first = list(islice(records, N_SAMPLED))
        if dialect.has_header and first[0].fault:
            raise InvalidDataError(f"{path}, line {first[0].first}: {first[0].fault}; put the header right.")
        header = read_header(first, dialect.has_header, columns)
        n_columns = len(header.names)
        wanted = _find_columns(columns, header.names, dialect, advice)
        for number, record in enumerate(chain(first[dialect.has_header :], records), start=1):
            where = f"{name}, {record.called(number)}"
            fields = record.fields
            if dialect.has_header and fields == first[0].fields:
                items.append(Skipped(where, "it repeats the header"))  # as in files that were put together
                continue
            if record.fault or not fits(record, header):
                items.append(Skipped(where, _why_broken(record, n_columns)))
                broken.append(record)
                continue
            n_longer += len(fields) > n_columns and not any(map(str.strip, fields[n_columns:]))
            values = [fields[column] for column in wanted]
            if is_decodable(values):
                items.append(Example(where, *values, origin=f"{name}:{record.first}"))
            else:
                items.append(Skipped(where, f"it has bytes that are not {dialect.encoding.upper()}"))
                n_undecodable += 1
    return _Reading(dialect, items, broken, header, wanted, n_undecodable, n_longer)


def _find_columns(columns: Sequence[str], names: list[str], dialect: Dialect, advice: str) -> list[int]:
    """The numbers of the wanted columns, from 0."""
    if not dialect.has_header:
        advice = "Without a header, columns are called by number."
    elif not set(columns) & set(names) or all(map(str.isdecimal, columns)):
        advice = "Where the first row is an example, say that there is no header, and call columns 1, 2, ..."
    return [find_column(column, names, str(dialect.path), advice) for column in columns]


def _why_broken(record: Record, n_columns: int) -> str:
    if record.fault:
        return record.fault
    why = f"it has {counted(len(record.fields), 'field')} rather than {n_columns}"
    return f"it is a comment: it begins with #, and {why.removeprefix('it ')}" if record.is_comment else why


def _are_all_quoted(items: Sequence[Example | Skipped]) -> bool:
    """Whether all texts stand in single quotation marks, without one in them that would be open."""
    texts = [item.content for item in items if isinstance(item, Example)]
    return len(texts) >= LEAST and all(len(text) > 1 and text[0] == text[-1] == "'" for text in texts)


def _notes(reading: _Reading) -> list[str]:
    """What a reading decided, a sentence each."""
    name, header, notes = tidy(reading.dialect.path.name), reading.header, []
    if header.was_comment:
        first = next(filter(None, header.names))
        notes.append(f"The header of {name} begins with #, which is taken for no part of the name {first!r}.")
    if header.has_row_names:
        notes.append(f"The rows of {name} have a field more than its header; the first is taken for the row's name.")
    notes += _about_ends(reading)
    texts = [item.content for item in reading.items if isinstance(item, Example)]
    if reading.dialect.delimiter == " " and len(header.names) > 2 and not any(re.search(r"\s", one) for one in texts):
        notes.append(
            f"Blanks part the rows of {name} into {len(header.names)} fields, so that a text is one word, such as "
            f"{next(iter(texts), '')[:30]!r}; give a delimiter that stands between label and text alone, such as a tab."
        )
    if reading.n_undecodable:
        notes.append(
            f"{name} has {counted(reading.n_undecodable, 'row')} with bytes that are not "
            f"{reading.dialect.encoding.upper()}; if it was written in another encoding, such as latin-1 or cp1252, "
            "say which."
        )
    return notes


def _about_ends(reading: _Reading) -> list[str]:
    """A note on delimiters that end the header or rows with nothing behind them; none where there are none."""
    name, header = tidy(reading.dialect.path.name), reading.header
    n_rows, last = sum(isinstance(item, Example) for item in reading.items), header.names[-1]
    if header.n_spare and reading.n_longer >= n_rows:
        return [f"All lines of {name} end in a delimiter; the empty column behind {last!r} is left out."]
    if header.n_spare:
        if not reading.n_longer:
            return [f"The header of {name} ends in a delimiter, and its rows do not; no column is behind {last!r}."]
        rows = f"{reading.n_longer:,} of {counted(n_rows, 'row')}"
        return [
            f"The header and {rows} of {name} end in a delimiter; what is behind {last!r} has no name and is left out."
        ]
    if reading.n_longer:
        rows = counted(reading.n_longer, "row")
        return [f"{name} has {rows} with empty fields behind its last column, which are left out."]
    return []


def _refuse_if_too_bad(reading: _Reading) -> None:
    dialect, items = reading.dialect, reading.items
    path = dialect.path
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
    advice = (
        f"check the delimiter ({sign_in_words(dialect.delimiter)}) and the encoding ({dialect.encoding}; another one, "
        "such as latin-1, is an option)"
    )
    refuse_if_most_are_lost(items, str(path), _most_common_fault(reading) or advice)


def _most_common_fault(reading: _Reading) -> str:
    """What to do where most rows have fields without a name; empty where that is not the matter."""
    counts = Counter(len(record.fields) for record in reading.broken if not record.fault)
    n_fields, n_rows = counts.most_common(1)[0] if counts else (0, 0)
    if n_fields <= len(reading.header.names) or 2 * n_rows <= len(reading.items):
        return ""
    return (
        f"most rows have {n_fields} fields, so put texts that hold the delimiter "
        f"({sign_in_words(reading.dialect.delimiter)}) into quotation marks, or give every column a name"
    )
