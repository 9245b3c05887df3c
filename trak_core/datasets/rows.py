"""Examples as they are read, before it is known which classes there are."""

import difflib
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trak_core.errors import InvalidDataError
from trak_core.modalities.raw import LabelRow, Skipped

N_LISTED, N_SHOWN = 20, 40
"""Columns named in a message, and characters of each: a file without a header has texts in their place."""


@dataclass(frozen=True)
class Example:
    """An example with its label as it was found."""

    where: str  # the file and the row
    content: Any  # a text, or what an image is read from
    label: Any = None  # a name or number; None where it is missing
    split: str | None = None  # the name of its split, in any case; None where the source has no splits
    # where it came from as the run keeps it, relative to what was given: "cats/img2.jpg", "reviews.csv:17" (a line of a
    # file, a row of Parquet, from 1) or "digits.npz:y_train[16]" (of an array, from 0); None where `where` says it
    origin: str | None = field(default=None, kw_only=True)
    label_row: LabelRow | None = field(default=None, kw_only=True)  # where its label stands, if in a table beside it


@dataclass(frozen=True)
class Rows:
    """The rows of a file."""

    items: list[Example | Skipped] = field(default_factory=list)  # rows and what was left out, in the order of the file
    notes: tuple[str, ...] = ()  # what the reader decided by itself, a sentence each
    # of the labels 0, 1, ..., where the file declares them; None where it does not
    class_names: tuple[str, ...] | None = None


def counted(number: int, noun: str) -> str:
    """A number and what it counts: "1 row", "1,200 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def find_column(column: str, columns: Sequence[str], source: str, advice: str = "") -> int:
    """The number of a column, from 0; `advice` says, in a sentence, what else may be the matter.

    Raises:
        InvalidDataError: there is none of that name, or more than one; the message lists all and names the nearest.
    """
    if (n_found := columns.count(column)) == 1:
        return columns.index(column)
    if n_found > 1:
        raise InvalidDataError(f"{source} has {n_found} columns {column!r}; give each a name of its own.")
    names = {name.casefold(): name for name in columns}
    near = difflib.get_close_matches(column.casefold(), names, n=1)
    hint = f"Did you mean {names[near[0]]!r}?" if near else advice
    listed = ", ".join(repr(textwrap.shorten(name, N_SHOWN)) for name in columns[:N_LISTED])
    more = ", ..." if len(columns) > N_LISTED else ""
    raise InvalidDataError(f"{source} has no column {column!r}; there are: {listed}{more}. {hint}".strip())


def refuse_if_most_are_lost(items: Sequence[Example | Skipped], source: str, advice: str) -> None:
    """Refuses a file of which more than half cannot be read: it is rather read in the wrong way.

    Raises:
        InvalidDataError: it is so.
    """
    skipped = [item for item in items if isinstance(item, Skipped)]
    if 2 * len(skipped) > len(items):
        raise InvalidDataError(
            f"{source}: {len(skipped):,} of {len(items):,} rows cannot be read, the first of them "
            f"{skipped[0].where}: {skipped[0].why}; {advice}."
        )


def most_common_reason(items: Sequence[Example | Skipped], further: Iterable[str] = ()) -> str:
    """How many rows were left out and why most of them, as a clause to add to a refusal; empty where none were."""
    why = [*(item.why for item in items if isinstance(item, Skipped)), *further]
    if not why:
        return ""
    reason, n_rows = Counter(why).most_common(1)[0]
    most = f", {n_rows:,} of them" if n_rows < len(why) else ""
    return f" ({len(why):,} of {counted(len(items), 'row')} were left out{most} because {reason})"


def is_decodable(values: Sequence[Any]) -> bool:
    """Whether texts hold no lone surrogates, which stand for bytes that are not of the encoding."""
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return True
