"""What the first records of a CSV file say about its columns."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trak_core.datasets.csv_records import Record
from trak_core.datasets.options import LABEL, SPLIT, TEXT

MOST = 0.9
"""Share of the records that something has to hold for before it is taken for the way of the file."""
_USUAL = {name for option in (TEXT, LABEL, SPLIT) for name in option.likely or ()}


@dataclass(frozen=True)
class Header:
    """The columns of a file."""

    names: list[str]  # in the order of the fields
    n_spare: int = 0  # delimiters that end the header without a name or a value behind them
    has_row_names: bool = False  # whether the rows have a field more than the header, which is a name of each
    was_comment: bool = False  # whether the header begins with #, which is no part of its first name


def read_header(records: Sequence[Record], has_header: bool, columns: Sequence[str] = ()) -> Header:
    """The columns from the first records of a file.

    Without a header they are numbers, as many as most records have fields. Where the records have a field more than the
    header, and the first is a name of each, as R writes them, the first column is called "".

    Args:
        records: the first of the file.
        has_header: whether the first of them names the columns.
        columns: that are wanted: one of them may begin with #.
    """
    whole = [record for record in records if record.fault is None] or list(records)
    if not has_header:
        n_fields = Counter(_n_fields(record.fields) for record in whole).most_common(1)[0][0]
        return Header([str(number) for number in range(1, n_fields + 1)])
    names = header_names(records[0].fields, columns)
    was_comment = bool(names) and names[0] != _plain(records[0].fields[0])
    rows = [record for record in whole if record is not records[0]]
    n_spare = 0
    while len(names) > 1 and not names[-1] and rows and not any(_has_more(row, len(names) - 1) for row in rows):
        names, n_spare = names[:-1], n_spare + 1
    longer = [row for row in rows if len(row.fields) == len(names) + 1 and row.fields[-1].strip()]
    if rows and len(longer) >= MOST * len(rows) and _name_rows(longer):
        return Header(["", *names], has_row_names=True, was_comment=was_comment)
    return Header(names, n_spare, was_comment=was_comment)


def header_names(fields: Sequence[str], columns: Sequence[str] = ()) -> list[str]:
    """The names that a line gives, also one that is written as a comment, "# text,label"."""
    names = list(map(_plain, fields))
    if names and names[0].startswith("#") and names[0] not in columns and (bare := names[0].lstrip("# \t").strip('"')):
        names[0] = bare
    return names


def names_columns(fields: Sequence[str], columns: Sequence[str]) -> bool:
    """Whether a line names all the wanted columns or, where none are wanted, one that is usually called so."""
    names = [name.strip("'") for name in header_names(fields, columns)]
    if columns:
        return all(names.count(column) == 1 for column in columns)
    return len(names) > 1 and any(name.casefold() in _USUAL for name in names)


def fits(record: Record, header: Header) -> bool:
    """Whether a record has as many fields as there are columns, but for empty ones at its end."""
    n_columns = len(header.names)
    n_fields = len(record.fields)
    return n_columns <= n_fields <= n_columns + header.n_spare or (
        n_fields > n_columns and not _has_more(record, n_columns)
    )


def _plain(name: str) -> str:
    return name.strip().strip("\ufeff").strip()


def _has_more(record: Record, n_columns: int) -> bool:
    return any(map(str.strip, record.fields[n_columns:]))


def _n_fields(fields: Sequence[str]) -> int:
    """The number of fields up to the last one that is not empty; two at least where there are two."""
    n_fields = len(fields)
    while n_fields > 2 and not fields[n_fields - 1].strip():
        n_fields -= 1
    return n_fields


def _name_rows(rows: Sequence[Record]) -> bool:
    """Whether the first fields are names of the rows, rather than the beginnings of texts that hold a delimiter."""
    firsts = [row.fields[0] for row in rows]
    are_one_word = not any(re.search(r"\s", first) for first in firsts)
    return len(set(firsts)) == len(firsts) and (are_one_word or all(row.begins_quoted for row in rows))
