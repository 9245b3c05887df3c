"""Which dialect of CSV a file is written in: its delimiter, where its records begin, what stands around its fields."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from trak_core.datasets.csv_header import MOST, fits, names_columns, read_header
from trak_core.datasets.csv_records import Dialect, blanks_beside, fields_of, opening
from trak_core.datasets.rows import counted
from trak_core.datasets.sources import tidy
from trak_core.datasets.text_files import iter_lines, open_text
from trak_core.errors import EmptyDataError

DELIMITERS = (",", "\t", ";", "|")
MOST_ABOVE = 20
"""Lines above a header that are looked at."""
BLANKS = "Blanks behind the delimiters of {name} are no part of its fields."
TRIMMED = "Blanks around the delimiters of {name} are no part of its fields."
ESCAPED = "Quotation marks in the texts of {name} have a backslash before them, and are read so."
SINGLE = "The fields of {name} stand in single quotation marks, and are read so."
_NAMES = {
    ",": "a comma",
    "\t": "a tab",
    ";": "a semicolon",
    "|": "a vertical bar",
    " ": "a blank",
    ":": "a colon",
    "/": "a slash",
    "+": "a plus sign",
    "&": "an ampersand",
}
_SEP_LINE = re.compile(r'\ufeff?"?sep=(?P<sign>.)"?[\s,;]*', re.IGNORECASE)


@dataclass
class Signs:
    """What the lines of a file hold that speaks for another dialect."""

    delimiter: str
    has_escaped_quotes: bool = False  # double ones
    has_escaped_single_quotes: bool = False
    has_bare_quotes: bool = False  # within fields, without a backslash
    has_single_quotes: bool = False
    has_blanks_before_quotes: bool = False
    has_blanks_after_quotes: bool = False
    _bare: re.Pattern[str] = field(init=False)
    _closed: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        sign = re.escape(self.delimiter)
        self._bare = re.compile(rf'(?<!^)(?<!\\)(?<!{sign})"(?!{sign}|\s*$)')
        self._closed = _blanks_after_quotes(self.delimiter)

    def watch(self, lines: Iterator[str]) -> Iterator[str]:
        """The lines as they are, looked at on the way."""
        sign = self.delimiter
        for line in lines:
            if '"' in line or "'" in line:
                self.has_blanks_after_quotes = self.has_blanks_after_quotes or bool(self._closed.search(line))
            if '"' in line:
                self.has_escaped_quotes = self.has_escaped_quotes or '\\"' in line
                self.has_bare_quotes = self.has_bare_quotes or bool(self._bare.search(line))
                self.has_blanks_before_quotes = self.has_blanks_before_quotes or f'{sign} "' in line
            if "'" in line:
                starts = line.startswith("'") or f"{sign}'" in line
                self.has_escaped_single_quotes = self.has_escaped_single_quotes or "\\'" in line
                self.has_blanks_before_quotes = self.has_blanks_before_quotes or f"{sign} '" in line
                self.has_single_quotes = self.has_single_quotes or starts or f"{sign} '" in line
            yield line


def sign_in_words(sign: str) -> str:
    """What people call a sign that parts fields, such as "a tab"; the sign in quotes where it has no usual name."""
    return _NAMES.get(sign, repr(sign))


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
        told_sign = sign_in_words(told["sign"])
        notes.append(f"The first line of {name} tells its delimiter, {told_sign}, and is no row.")
        n_above, delimiter = 1, delimiter or told["sign"]
    has_tabs = path.name.lower().removesuffix(".gz").endswith((".tsv", ".tab"))
    candidates = [delimiter] if delimiter else sorted(DELIMITERS, key=lambda sign: has_tabs and sign != "\t")
    plain = [Dialect(path, encoding, has_header, sign, n_above=n_above) for sign in candidates]
    spaced = [replace(one, trims_blanks=True) for one in plain if _may_have_blanks_after_quotes(one, lines)]
    parted_by_blanks = [] if delimiter else _parted_by_blanks(plain[0], lines, columns)
    layouts = [_below_comments(one, lines, columns) for one in (*plain, *spaced)] + parted_by_blanks
    best = max(layouts, key=lambda layout: _fit(layout, columns))
    if has_header and columns and not _fit(best, columns)[0]:
        lower = (_header_below(layout, lines, columns) for layout in layouts)
        best = next((layout for layout in lower if layout is not None), best)
    if first := next((line.strip() for line in lines[n_above : best.n_above] if line.strip()), ""):
        below = f"The header of {name} is in line {best.n_above + 1}" if has_header else f"{name} begins so"
        n_lost = counted(best.n_above - n_above, "line")
        notes.append(f"{below}; {n_lost} above left out, beginning with {first[:60]!r}.")
    if not has_header and _begins_as_comment(lines[best.n_above]):
        notes.append(f"Line {best.n_above + 1} of {name} begins with # and is read as a row, like all below it.")
    if has_header and _are_in_single_quotes(opening(best)[0].fields):
        best = replace(best, quote="'")
        notes.append(SINGLE.format(name=name))
    best = _with_blanks_skipped(best, lines)
    if best.trims_blanks or best.skips_blanks:
        notes.append((TRIMMED if best.trims_blanks else BLANKS).format(name=name))
    if best.has_escapes:
        notes.append(ESCAPED.format(name=name))
    if not delimiter and best.delimiter != ("\t" if has_tabs else ","):
        notes.append(f"The delimiter of {name} is {sign_in_words(best.delimiter)}.")
    return best, tuple(notes)


def other_dialects(dialect: Dialect, signs: Signs) -> list[tuple[Dialect, str]]:
    """What else a file may be written in that does not hold up in this dialect, and what to say where it is so."""
    name = tidy(dialect.path.name)
    found: list[tuple[Dialect, str]] = []
    if signs.has_blanks_after_quotes and not dialect.trims_blanks:
        dialect = replace(dialect, trims_blanks=True)
        found.append((dialect, TRIMMED.format(name=name)))
    elif signs.has_blanks_before_quotes and not (dialect.skips_blanks or dialect.trims_blanks):
        dialect = replace(dialect, skips_blanks=True)
        found.append((dialect, BLANKS.format(name=name)))
    if (
        signs.has_escaped_single_quotes if dialect.quote == "'" else signs.has_escaped_quotes
    ) and not dialect.has_escapes:
        found.append((replace(dialect, has_escapes=True), ESCAPED.format(name=name)))
    if signs.has_single_quotes and dialect.quote == '"':
        single = SINGLE.format(name=name)
        found.append((replace(dialect, quote="'"), single))
        if signs.has_escaped_single_quotes and not dialect.has_escapes:
            both = f"{single[:-1]}; those in its texts have a backslash before them."
            found.append((replace(dialect, quote="'", has_escapes=True), both))
    if dialect.delimiter == "\t":
        # Files with tabs are often written without quoting, so that quotation marks are text like any other.
        plain = f"Quotation marks in {name} are taken as part of its texts: they do not pair up."
        found.append((replace(dialect, quote=None), plain))
    return found


def _blanks_after_quotes(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf"""["'][{blanks_beside(delimiter)}]+(?:{re.escape(delimiter)}|[\r\n]*$)""")


def _may_have_blanks_after_quotes(dialect: Dialect, lines: Sequence[str]) -> bool:
    pattern = _blanks_after_quotes(dialect.delimiter)
    return dialect.delimiter != " " and any(pattern.search(line) for line in lines)


def _fit(dialect: Dialect, columns: Sequence[str]) -> tuple[bool, int]:
    """How well a dialect suits the first records: whether the wanted columns are there, how many records are even."""
    sample = opening(dialect)
    if not sample:
        raise EmptyDataError(f"{dialect.path} is empty; give a file with a row for each example.")
    header = read_header(sample, dialect.has_header, columns)
    are_names = len(header.names) > 1 and not any(name.startswith(DELIMITERS) for name in header.names)
    n_even = sum(fits(record, header) for record in sample) if are_names else 0
    return all(header.names.count(column) == 1 for column in columns), n_even


def _parted_by_blanks(dialect: Dialect, lines: Sequence[str], columns: Sequence[str]) -> list[Dialect]:
    """The dialect of R's `write.table`, where a file is in it: blanks between fields, texts in quotation marks."""
    has_escapes = any('\\"' in line for line in lines)
    dialect = _below_comments(replace(dialect, delimiter=" ", has_escapes=has_escapes), lines, columns)
    sample = opening(dialect)
    rows = sample[dialect.has_header :]
    if not rows or not any(row.begins_quoted for row in sample):
        return []
    header = read_header(sample, dialect.has_header, columns)
    whole = [row for row in rows if fits(row, header)]
    is_quoted = all(row.begins_quoted or re.fullmatch(r"[\d.+-]+|NA", row.fields[0]) for row in whole)
    are_names = len(header.names) > 1 and all(re.search(r"\w", name) for name in header.names if name)
    return [dialect] if is_quoted and are_names and len(whole) >= MOST * len(rows) else []


def _below_comments(dialect: Dialect, lines: Sequence[str], columns: Sequence[str]) -> Dialect:
    """The dialect from the first line on that is no comment, nor a title above a header; a header may be a comment."""
    sample = opening(dialect)
    usual = Counter(len(record.fields) for record in sample if not record.is_comment).most_common(1)
    most = usual[0][0] if usual else 0
    named = None
    for number, line in enumerate(lines[dialect.n_above : MOST_ABOVE], start=dialect.n_above):
        if dialect.has_header and line.strip() and names_columns(fields_of(line, dialect), columns):
            named = number
        if line.strip() and not _begins_as_comment(line):
            break
    if named is not None and (named > dialect.n_above or _begins_as_comment(lines[named])):
        return replace(dialect, n_above=named)
    for number, line in enumerate(lines[dialect.n_above : MOST_ABOVE], start=dialect.n_above):
        fields = fields_of(line, dialect)
        is_comment = _begins_as_comment(line) and len(fields) != most
        is_title = dialect.has_header and most > 2 and sum(bool(one.strip()) for one in fields) == 1
        if line.strip() and not (is_comment or is_title):
            return replace(dialect, n_above=number) if number > dialect.n_above and most > 1 else dialect
    return dialect


def _header_below(dialect: Dialect, lines: Sequence[str], columns: Sequence[str]) -> Dialect | None:
    """The dialect from the line on that names all the columns, where what stands above is no row; None if none does."""
    for number in range(dialect.n_above, len(lines)):
        fields = fields_of(lines[number], dialect)
        if names_columns(fields, columns):
            return replace(dialect, n_above=number)
        if sum(map(bool, map(str.strip, fields))) >= max(len(columns), 2) and not _begins_as_comment(lines[number]):
            return None
    return None


def _begins_as_comment(line: str) -> bool:
    return line.lstrip("\ufeff \t\"'").startswith("#")


def _are_in_single_quotes(names: Sequence[str]) -> bool:
    return bool(names) and all(re.fullmatch("'.*'", name.strip()) for name in names)


def _with_blanks_skipped(dialect: Dialect, lines: Sequence[str]) -> Dialect:
    """The dialect that leaves out blanks beside delimiters, where all have them or a quotation mark is beside them."""
    if dialect.delimiter == " " or dialect.trims_blanks:
        return dialect
    trimmed, skipped = replace(dialect, trims_blanks=True), replace(dialect, skips_blanks=True)
    if _may_have_blanks_after_quotes(dialect, lines) and _fit(trimmed, ()) > _fit(dialect, ()):
        return trimmed
    rows = [record.fields for record in opening(dialect) if record.fault is None]
    later = [row[1:] for row in rows if len(row) > 1]
    if len(later) < 2:
        return dialect
    # Within quotation marks blanks are part of the fields.
    if all(one.endswith(" ") for row in rows for one in row[:-1] if one) and _makes_a_difference(trimmed, rows):
        return trimmed
    if all(one.startswith(" ") for row in later for one in row if one):
        return skipped if _makes_a_difference(skipped, rows) else dialect
    columns = zip(*(row[: min(map(len, later))] for row in later[dialect.has_header :]), strict=True)
    is_quoted = any(all(re.match(r' +".*"\s*$', one, re.DOTALL) for one in column) for column in columns)
    return skipped if is_quoted else dialect


def _makes_a_difference(dialect: Dialect, rows: Sequence[Sequence[str]]) -> bool:
    return [record.fields for record in opening(dialect) if record.fault is None] != list(rows)
