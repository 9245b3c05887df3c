"""Where rows and their labels stand in the text of a file, so that a label is changed and all else stays as it is."""

import io
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from trak_core.datasets.csv_records import Dialect, blanks_beside, iter_records

_BLANKS = " \t\r\n"
_DECODER = json.JSONDecoder()

Span = tuple[int, int]
"""From the first letter to the one behind the last."""


@dataclass(frozen=True)
class Place:
    """A row of a text."""

    row: Span  # with its line end, or the member of an array alone
    label: Span | None  # of its label, as it is written with quotes and all; None where it has none


def lines_of(text: str) -> Iterator[Span]:
    """The lines of a text with their ends, which may be of any kind."""
    start = 0
    for line in io.StringIO(text, newline=""):
        yield start, start + len(line)
        start += len(line)


def json_line_places(text: str, column: str) -> dict[int, Place]:
    """The objects of JSON lines by their line, from 1."""
    places = {}
    for number, (start, end) in enumerate(lines_of(text), start=1):
        if text[start:end].strip():
            places[number] = Place((start, end), _label_in(text, _skipped(text, start), column))
    return places


def json_array_places(text: str, column: str) -> dict[int, Place]:
    """The members of one JSON array by their number, from 1."""
    places: dict[int, Place] = {}
    at = _skipped(text, text.index("[") + 1)
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        places[len(places) + 1] = Place((at, end), _label_in(text, at, column))
        at = _skipped(text, end)
        if text[at] == ",":
            at = _skipped(text, at + 1)
    return places


def csv_places(text: str, dialect: Dialect, column: int) -> dict[int, Place]:
    """The records of a CSV file by the line where they begin, from 1.

    Args:
        text: of the file.
        dialect: that it is written in.
        column: number of the labels in its rows, from 0.
    """
    lines = list(lines_of(text))
    places = {}
    for record in iter_records((text[start:end] for start, end in lines), dialect):
        start, end = lines[record.first - 1][0], lines[record.last - 1][1]
        fields = (
            [] if record.fault else list(_fields_in(text, start, start + len(text[start:end].rstrip("\r\n")), dialect))
        )
        is_known = column < len(fields) == len(record.fields)
        places[record.first] = Place((start, end), fields[column] if is_known else None)
    return places


def _fields_in(text: str, at: int, end: int, dialect: Dialect) -> Iterator[Span]:
    """The fields of a record as they are written, from one delimiter to the next, with quotes and escapes."""

    def behind(at: int, signs: str) -> int:
        """The place of the next of these signs that is not escaped."""
        while at < end and text[at] not in signs:
            at += 2 if dialect.has_escapes and text[at] == "\\" else 1
        return min(at, end)

    blanks = blanks_beside(dialect.delimiter) if dialect.trims_blanks else " " if dialect.skips_blanks else ""
    while True:
        while at < end and text[at] in blanks:
            at += 1
        start = at
        if dialect.quote and at < end and text[at] == dialect.quote:
            at = behind(at + 1, dialect.quote) + 1
            while at < end and text[at] == dialect.quote:  # a doubled one is part of the field
                at = behind(at + 1, dialect.quote) + 1
        at = behind(at, dialect.delimiter)
        trimmed = at
        while dialect.trims_blanks and trimmed > start and text[trimmed - 1] in blanks:
            trimmed -= 1
        yield start, trimmed
        if at >= end:
            return
        at += 1


def _label_in(text: str, at: int, column: str) -> Span | None:
    """The value of the last member of that name in the object that begins there; None where there is none."""
    found = None
    if text[at] != "{":
        return None
    at = _skipped(text, at + 1)
    try:
        while text[at] == '"':
            name, end = _DECODER.raw_decode(text, at)
            start = _skipped(text, _skipped(text, end) + 1)  # behind the colon
            _, end = _DECODER.raw_decode(text, start)
            if name == column:
                found = start, end
            at = _skipped(text, end)
            if text[at] == ",":
                at = _skipped(text, at + 1)
    except (ValueError, IndexError, RecursionError):
        return None  # no JSON, so that it is no row either
    return found


def _skipped(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def mended(
    text: str, places: Mapping[int, Place], donors: Mapping[int, int], left_out: Collection[int], in_array: bool = False
) -> str:
    """The text in which rows bear the labels of others, written as they are there, and some rows are left out.

    Args:
        text: of the file.
        places: of its rows by their numbers, in the order of the file.
        donors: by the number of a row, that of the row whose label it gets; both have labels.
        left_out: numbers of rows.
        in_array: whether rows have commas between them.
    """
    edits = []
    for number, donor in donors.items():
        (start, end), given = _label(places, number), _label(places, donor)
        edits.append((start, end, text[slice(*given)]))
    cuts = _members_cut(places, left_out) if in_array else (places[number].row for number in left_out)
    edits += [(start, end, "") for start, end in cuts]
    parts, at = [], 0
    for start, end, new in sorted(edits):
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def _label(places: Mapping[int, Place], number: int) -> Span:
    span = places[number].label
    assert span is not None
    return span


def _members_cut(places: Mapping[int, Place], left_out: Collection[int]) -> Iterator[Span]:
    """What is taken out of an array: members with the comma before them, or behind where none before them is kept."""
    rows = list(places.items())
    is_first = True
    for at, (number, place) in enumerate(rows):
        if number not in left_out:
            is_first = False
        elif is_first:
            yield place.row[0], rows[at + 1][1].row[0] if at + 1 < len(rows) else place.row[1]
        else:
            yield rows[at - 1][1].row[1], place.row[1]
