"""The records of a CSV file as it stands, from its first line to its last, under one dialect.

The parser is Python's own. DuckDB's loses rows without a word behind a quotation mark that is never closed, has no
numbers of rows, and refuses files with two kinds of line ends (as of 2.0).
"""

import csv
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from trak_core.datasets.text_files import MAX_LINE, iter_lines, open_text

N_SAMPLED = 50
"""Records that the dialect and the names of columns are found from."""


@dataclass(frozen=True)
class Dialect:
    """How the records of a file are told apart."""

    path: Path
    encoding: str
    has_header: bool
    delimiter: str
    quote: str | None = '"'  # what stands around fields; None where quotation marks are text like any other
    has_escapes: bool = False  # whether a backslash takes a quotation mark, delimiter or line end behind it as text
    skips_blanks: bool = False  # whether blanks behind a delimiter are no part of the field
    trims_blanks: bool = (
        False  # whether blanks around a delimiter are none either, nor those outside of quotation marks
    )
    n_above: int = 0  # lines above the first record

    def settings(self) -> dict[str, Any]:
        """As `csv.reader` takes them."""
        return {
            "delimiter": self.delimiter,
            "quoting": csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            "quotechar": self.quote or '"',
            "escapechar": "\\" if self.has_escapes else None,
            "skipinitialspace": self.skips_blanks,
        }


@dataclass(frozen=True)
class Record:
    """A row as it stands in the file, from its first to its last line."""

    first: int  # its first line
    last: int  # its last line
    fields: list[str]  # as they are read
    fault: str | None = None  # why it cannot be read
    opened: int | None = None  # the line in which a quotation mark opens that is still open at the end
    begins_quoted: bool = False  # whether its first field stands in quotation marks

    @property
    def n_lines(self) -> int:
        """How many lines of the file it takes."""
        return self.last - self.first + 1

    @property
    def is_comment(self) -> bool:
        """Whether it begins as comments do."""
        return bool(self.fields) and self.fields[0].lstrip().startswith("#")

    def called(self, number: int) -> str:
        """What the row of that number is called, with its lines where they have other numbers."""
        if self.n_lines > 1:
            return f"row {number} (lines {self.first} to {self.last})"
        return f"row {number}" if number == self.first else f"row {number} (line {self.first})"


def iter_records(lines: Iterator[str], dialect: Dialect) -> Iterator[Record]:
    """The records of a file from its first line on, without blank lines."""
    # For the whole process, so it is only ever raised; the usual 128 KB are too few for texts.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    held: list[str] = []
    is_at_end = False
    prepared = _prepared(dialect)

    def watched() -> Iterator[str]:
        nonlocal is_at_end
        for line in islice(lines, dialect.n_above, None):
            held.append(prepared(line))
            yield held[-1]
        is_at_end = True

    reader = csv.reader(watched(), strict=True, **dialect.settings())
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
                opened = dialect.n_above + n_before + _line_that_opens(held, dialect)
        if fields or fault:
            first, last = dialect.n_above + n_before + 1, dialect.n_above + reader.line_num
            yield Record(first, last, fields, fault, opened, bool(dialect.quote) and held[0][:1] == dialect.quote)
        n_before = reader.line_num


def opening(dialect: Dialect) -> list[Record]:
    """The first records of a file."""
    with open_text(dialect.path, dialect.encoding) as text:
        return list(islice(iter_records(iter_lines(text, dialect.path), dialect), N_SAMPLED))


def fields_of(line: str, dialect: Dialect) -> list[str]:
    """The fields of a line by itself, whatever its quotation marks are."""
    return next(csv.reader([_prepared(dialect)(line)], **dialect.settings()), [])


def _prepared(dialect: Dialect) -> Callable[[str], str]:
    """Makes of each line in turn what the parser has to be given."""
    steps = [_escapes_settled(dialect)] if dialect.has_escapes else []
    if dialect.trims_blanks:
        steps.append(_blanks_trimmed(dialect))

    def prepared(line: str) -> str:
        for step in steps:
            line = step(line)
        return line

    return prepared


def _escapes_settled(dialect: Dialect) -> Callable[[str], str]:
    """Makes a line in which a backslash that escapes nothing is escaped itself: the parser would drop it."""
    special = {"\\", dialect.delimiter, dialect.quote, "\r", "\n"}
    pattern = re.compile(r"\\(.?)", re.DOTALL)

    def settled(found: re.Match[str]) -> str:
        return found[0] if found[1] in special else f"\\\\{found[1]}"

    return lambda line: pattern.sub(settled, line)


def _blanks_trimmed(dialect: Dialect) -> Callable[[str], str]:
    """Makes a line without the blanks around its fields; a quotation mark may stay open from one line to the next."""
    sign, quote = re.escape(dialect.delimiter), dialect.quote
    blanks = blanks_beside(dialect.delimiter)
    mark = re.escape(quote or "")
    no_escape, escaped = (r"\\", r"|\\.") if dialect.has_escapes else ("", "")
    before = re.compile(f"[{blanks}]*")
    outside = re.compile(rf"(?:[^{sign}\r\n{no_escape}]+{escaped})*", re.DOTALL)
    within = re.compile(rf"(?:[^{mark}{no_escape}]+|{mark}{mark}{escaped})*", re.DOTALL) if quote else outside
    is_open = False

    def trimmed(line: str) -> str:
        nonlocal is_open
        parts, at = list[str](), 0
        while at < len(line):
            if not is_open:
                at = before.match(line, at).end()  # type: ignore[union-attr]
                if quote and line[at : at + 1] == quote:
                    parts.append(quote)
                    at, is_open = at + 1, True
            if is_open:
                end = within.match(line, at).end()  # type: ignore[union-attr]
                parts.append(line[at : end + 1])  # with the quotation mark that closes, where there is one
                at, is_open = end + 1, end >= len(line)
            if not is_open:
                end = outside.match(line, at).end()  # type: ignore[union-attr]
                parts += [line[at:end].rstrip(blanks), line[end : end + 1]]
                at = end + 1
        return "".join(parts)

    return trimmed


def blanks_beside(delimiter: str) -> str:
    """The signs that are blanks beside a delimiter."""
    return " " if delimiter == "\t" else " \t"


def _line_that_opens(lines: Sequence[str], dialect: Dialect) -> int:
    """The line, from 1, that opens the quotation mark which is open at the end of all; they begin with a record."""

    def n_fields(n_lines: int) -> int:
        return len(next(csv.reader(lines[:n_lines], **dialect.settings())))

    # The open field is the last one, and it stands in every line from the one where it opens.
    return bisect_left(range(1, len(lines) + 1), n_fields(len(lines)), key=n_fields) + 1
