"""Which columns of a table probably hold what, by their names and by what is in their first rows."""

from collections.abc import Sequence
from typing import Any

from trak_core.datasets.missing import USUAL_MISSING, is_missing
from trak_core.datasets.options import IMAGE, LABEL, SPLIT, TEXT, Option
from trak_core.datasets.placing import split_kind

MANY = 20
"""Different values in the first rows that a column of labels has at most."""
_HINTS = (
    *("label", "class", "target", "categor", "sentiment", "topic", "kind", "type", "tag", "intent", "verdict"),
    *("rating", "stars", "score", "emotion", "polarity", "answer"),
)


def likely_columns(options: Sequence[Option], names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, str]:
    """The column that each option probably means, by the name of the option; without those that nothing tells.

    A usual name decides, as far as the values bear it out. Otherwise the texts are the column of the longest ones,
    labels one that repeats a few values, and splits one that names splits.

    Args:
        options: that name columns.
        names: of the columns.
        rows: the first ones, a value for each column.
    """
    wanted = {option.name for option in options}
    values = {name: [row[column] for row in rows] for column, name in enumerate(names) if names.count(name) == 1}
    found = {option.name: name for option in options if (name := option.likely_in(list(values))) is not None}
    if SPLIT.name in wanted:
        found.pop(SPLIT.name, None)
        found |= _first(SPLIT, [name for name, column in values.items() if _names_splits(column)])
    if IMAGE.name in wanted:
        found |= _first(IMAGE, [name for name, column in values.items() if any(map(_is_image, column))])
    if IMAGE.name in found:
        found.pop(TEXT.name, None)  # words beside images tell of them
    elif TEXT.name in wanted and TEXT.name not in found:
        free = {name: column for name, column in values.items() if name not in found.values()}
        found |= _first(TEXT, sorted(_texts(free), key=lambda name: -_mean_length(free[name])))
    if LABEL.name in wanted and LABEL.name not in found:
        free = {name: column for name, column in values.items() if name not in found.values()}
        found |= _first(LABEL, sorted(_labels(free), key=lambda name: _rank_as_label(name, free[name])))
    return found


def _first(option: Option, names: Sequence[str]) -> dict[str, str]:
    return {option.name: names[0]} if names else {}


def _there(column: Sequence[Any]) -> list[Any]:
    return [value for value in column if not is_missing(value, USUAL_MISSING)]


def _names_splits(column: Sequence[Any]) -> bool:
    there = _there(column)
    return bool(there) and all(isinstance(value, str) and split_kind(value) is not None for value in there)


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"bytes", "path"}


def _mean_length(column: Sequence[Any]) -> float:
    lengths = [len(value) for value in _there(column)]
    return sum(lengths) / max(len(lengths), 1)


def _texts(values: dict[str, list[Any]]) -> list[str]:
    """Columns of strings that mostly differ and are no numbers."""
    found = []
    for name, column in values.items():
        there = _there(column)
        if not there or not all(isinstance(value, str) for value in there):
            continue
        n_words = sum(not value.strip().replace(".", "").replace("-", "").isdecimal() for value in there)
        if 2 * n_words > len(there) and 2 * len(set(there)) > len(there):
            found.append(name)
    return found


def _labels(values: dict[str, list[Any]]) -> list[str]:
    """Columns whose values repeat."""
    found = []
    for name, column in values.items():
        there = [str(value) for value in _there(column) if not isinstance(value, dict | list)]
        if there and len(set(there)) <= min(MANY, max(len(there) // 2, 2)) and not _have_decimals(there):
            found.append(name)
    return found


def _have_decimals(values: Sequence[str]) -> bool:
    try:
        return any(not float(value).is_integer() for value in values)
    except (ValueError, OverflowError):
        return False


def _rank_as_label(name: str, column: Sequence[Any]) -> tuple[bool, bool, int]:
    n_different = len({str(value) for value in _there(column)})
    is_hinted = any(hint in name.casefold() for hint in _HINTS)
    return not is_hinted, n_different < 2, n_different
