"""Which dialect of CSV a file is written in: its delimiter, where its records begin, what stands around its fields."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from trak_core.datasets.csv_records import Dialect, Record, opening
from trak_core.datasets.rows import counted
from trak_core.datasets.sources import tidy
from trak_core.datasets.text_files import iter_lines, open_text
from trak_core.errors import EmptyDataError

DELIMITERS = (",", "\t", ";", "|")
MOST_ABOVE = 20
"""Lines above a header that are looked at."""
MOST = 0.9
"""Share of the records that a dialect has to fit before it is taken for that of the file."""
BLANKS = "Blanks behind the delimiters of {name} are no part of its fields."
SINGLE = "The fields of {name} stand in single quotation marks, and are read so."
_SEP_LINE = re.compile(r'\ufeff?"?sep=(?P<sign>.)"?[\s,;]*', re.IGNORECASE)


@dataclass
class Signs:
    """What the lines of a file hold that speaks for another dialect."""

    delimiter: str
    has_escaped_quotes: bool = False
    has_bare_quotes: bool = False  # within fields, without a backslash
    has_single_quotes: bool = False
    has_blanks_before_quotes: bool = False
    _bare: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        sign = re.escape(self.delimiter)
        self._bare = re.compile(rf'(?<!^)(?<!\\)(?<!{sign})"(?!{sign}|\s*$)')

    def watch(self, lines: Iterator[str]) -> Iterator[str]:
        """The lines as they are, looked at on the way."""
        sign = self.delimiter
        for line in lines:
            if '"' in line:
                self.has_escaped_quotes = self.has_escaped_quotes or '\\"' in line
                self.has_bare_quotes = self.has_bare_quotes or bool(self._bare.search(line))
                self.has_blanks_before_quotes = self.has_blanks_before_quotes or f'{sign} "' in line
            if "'" in line:
                starts = line.startswith("'") or f"{sign}'" in line
                self.has_escaped_quotes = self.has_escaped_quotes or "\\'" in line
                self.has_blanks_before_quotes = self.has_blanks_before_quotes or f"{sign} '" in line
                self.has_single_quotes = self.has_single_quotes or starts or f"{sign} '" in line
            yield line


def find_dialect(
    path: Path, columns: Sequence[str], has_header: bool, delimiter: str | None, encoding: str
) -> tuple[Dialect, tuple[str, ...]]:
    """The dialect by the wanted columns and the first records, and notes on what was decided, a sentence each.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: the file is no text.
    """
    with open_text(path, encoding) as text:
        lines = list(islice(iter_lines(text, path), MOST_ABOVE + 1))
    name, notes = tidy(path.name), list[str]()
    n_above = 0
    if lines and (told := _SEP_LINE.fullmatch(lines[0])):
        notes.append(f"The first line of {name}, {lines[0].strip()!r}, tells its delimiter and is no row.")
        n_above, delimiter = 1, delimiter or told["sign"]
    has_tabs = path.name.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    candidates = [delimiter] if delimiter else sorted(DELIMITERS, key=lambda sign: has_tabs and sign != "\t")
    layouts = [
        _below_comments(Dialect(path, encoding, has_header, sign, n_above=n_above), lines) for sign in candidates
    ]
    best = max(layouts, key=lambda layout: _fit(layout, columns))
    if has_header and columns and not _fit(best, columns)[0]:
        lower = (_header_below(layout, lines, columns) for layout in layouts)
        best = next((layout for layout in lower if layout is not None), best)
    if n_lost := best.n_above - n_above:
        first = next(line.strip() for line in lines[n_above:] if line.strip())
        below = f"The header of {name} is in line {best.n_above + 1}" if has_header else f"{name} begins so"
        notes.append(f"{below}; {counted(n_lost, 'line')} above left out, beginning with {first[:60]!r}.")
    if (spaced := _with_blanks_skipped(best)) != best:
        best = spaced
        notes.append(BLANKS.format(name=name))
    if has_header and _are_in_single_quotes(opening(best)[0].fields):
        best = replace(best, quote="'")
        notes.append(SINGLE.format(name=name))
    if not delimiter and best.delimiter != ("\t" if has_tabs else ","):
        notes.append(f"The fields of {name} are parted by {best.delimiter!r}.")
    return best, tuple(notes)


def column_names(records: Sequence[Record], has_header: bool) -> list[str]:
    """The names of the columns, in the order of the fields, from the first records of a file.

    Without a header they are numbers, as many as most records have fields. Where the records have a field more than the
    header, and the first is a name of each, as R writes them, the first column is called "".
    """
    whole = [record for record in records if record.fault is None] or list(records)
    if not has_header:
        n_fields = Counter(_n_fields(record.fields) for record in whole).most_common(1)[0][0]
        return [str(number) for number in range(1, n_fields + 1)]
    names = [name.strip().strip("\ufeff") for name in records[0].fields]
    rows = [record.fields for record in whole if record is not records[0]]
    longer = [row for row in rows if len(row) == len(names) + 1 and row[-1].strip()]
    if rows and len(longer) >= MOST * len(rows):
        firsts = [row[0] for row in longer]
        if len(set(firsts)) == len(firsts) and not any(re.search(r"\s", first) for first in firsts):
            return ["", *names]
    while len(names) > 1 and not names[-1] and rows and all(len(row) < len(names) for row in rows):
        names.pop()  # a delimiter that ends the header alone
    return names


def fits(fields: Sequence[str], n_columns: int) -> bool:
    """Whether a record has as many fields as there are columns, but for empty ones at its end."""
    return len(fields) == n_columns or (len(fields) > n_columns and not any(map(str.strip, fields[n_columns:])))


def other_dialects(dialect: Dialect, signs: Signs) -> list[tuple[Dialect, str]]:
    """What else a file may be written in that does not hold up in this dialect, and what to say where it is so."""
    name = tidy(dialect.path.name)
    found: list[tuple[Dialect, str]] = []
    if signs.has_blanks_before_quotes and not dialect.skips_blanks:
        dialect = replace(dialect, skips_blanks=True)
        found.append((dialect, BLANKS.format(name=name)))
    if signs.has_escaped_quotes:
        escaped = f"Quotation marks in the texts of {name} have a backslash before them, and are read so."
        found.append((replace(dialect, has_escapes=True), escaped))
    if signs.has_single_quotes and dialect.quote == '"':
        single = SINGLE.format(name=name)
        found.append((replace(dialect, quote="'"), single))
        if signs.has_escaped_quotes:
            both = f"{single[:-1]}; those in its texts have a backslash before them."
            found.append((replace(dialect, quote="'", has_escapes=True), both))
    if dialect.delimiter == "\t":
        # Files with tabs are often written without quoting, so that quotation marks are text like any other.
        plain = f"Quotation marks in {name} are taken as part of its texts: they do not pair up."
        found.append((replace(dialect, quote=None), plain))
    return found


def _n_fields(fields: Sequence[str]) -> int:
    """The number of fields up to the last one that is not empty; two at least where there are two."""
    n_fields = len(fields)
    while n_fields > 2 and not fields[n_fields - 1].strip():
        n_fields -= 1
    return n_fields


def _fit(dialect: Dialect, columns: Sequence[str]) -> tuple[bool, int]:
    """How well a dialect suits the first records: whether the wanted columns are there, how many records are even."""
    sample = opening(dialect)
    if not sample:
        raise EmptyDataError(f"{dialect.path} is empty; give a file with a row for each example.")
    names = column_names(sample, dialect.has_header)
    n_even = sum(fits(record.fields, len(names)) for record in sample)
    return all(names.count(column) == 1 for column in columns), n_even if len(names) > 1 else 0


def _below_comments(dialect: Dialect, lines: Sequence[str]) -> Dialect:
    """The dialect from the first line on that is no comment, nor a title above a header."""
    sample = opening(dialect)
    usual = Counter(len(record.fields) for record in sample if not record.is_comment).most_common(1)
    most = usual[0][0] if usual else 0
    for number, line in enumerate(lines[dialect.n_above : MOST_ABOVE], start=dialect.n_above):
        fields = _parsed(line, dialect)
        is_comment = line.lstrip("\ufeff \t").startswith("#") and len(fields) != most
        is_title = dialect.has_header and most > 2 and sum(bool(one.strip()) for one in fields) == 1
        if line.strip() and not (is_comment or is_title):
            return replace(dialect, n_above=number) if number > dialect.n_above and most > 1 else dialect
    return dialect


def _header_below(dialect: Dialect, lines: Sequence[str], columns: Sequence[str]) -> Dialect | None:
    """The dialect from the line on that names all the columns, where what stands above is no row; None if none does."""
    for number in range(dialect.n_above, len(lines)):
        names = [name.strip().strip("'") for name in _parsed(lines[number], dialect)]
        if all(names.count(column) == 1 for column in columns):
            return replace(dialect, n_above=number)
        if sum(map(bool, names)) >= max(len(columns), 2) and not lines[number].lstrip("\ufeff \t").startswith("#"):
            return None
    return None


def _are_in_single_quotes(names: Sequence[str]) -> bool:
    return bool(names) and all(re.fullmatch("'.*'", name.strip()) for name in names)


def _parsed(line: str, dialect: Dialect) -> list[str]:
    return next(csv.reader([line], **dialect.settings()), [])


def _with_blanks_skipped(dialect: Dialect) -> Dialect:
    """The dialect that leaves out blanks behind delimiters, where all have them or a quotation mark follows."""
    rows = [record.fields for record in opening(dialect) if record.fault is None]
    later = [row[1:] for row in rows if len(row) > 1]
    if len(later) < 2 or dialect.delimiter == " ":
        return dialect
    if all(one.startswith(" ") for row in later for one in row if one):
        return replace(dialect, skips_blanks=True)
    columns = zip(*(row[: min(map(len, later))] for row in later[dialect.has_header :]), strict=True)
    is_quoted = any(all(re.match(r' +".*"\s*$', one, re.DOTALL) for one in column) for column in columns)
    return replace(dialect, skips_blanks=True) if is_quoted else dialect
