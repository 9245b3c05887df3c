"""Words that stand in tables where a value is missing: one rule for labels and for texts, whatever the file."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from trak_core.datasets.rows import counted

USUAL_MISSING = frozenset(
    (
        *("NA", "N/A", "n/a", "<NA>", "#NA", "#N/A", "#N/A N/A"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
        *("NULL", "null", "None", "\\N"),
    )
)
"""Those that pandas takes for missing, and the one of MySQL. Written in another way, as "none", they are words."""
_IN_ANY_CASE = frozenset(word.casefold() for word in USUAL_MISSING)


def missing_words(given: str | None) -> frozenset[str]:
    """The words that somebody gave, with commas between them; the usual ones where nothing was given."""
    if given is None:
        return USUAL_MISSING
    return frozenset(word.strip() for word in given.split(",") if word.strip())


def is_missing(value: Any, words: frozenset[str]) -> bool:
    """Whether there is no value: None, NaN, nothing but blanks, or one of the words, which may be a number."""
    if value is None or (isinstance(value, float) and value != value):
        return True
    text = _written(value)
    return text == "" or text in words


def _written(value: Any) -> str | None:
    """A value as somebody would write it among the words; None where it is neither a text nor a number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, str | int | float) else None


def looks_missing(name: str) -> bool:
    """Whether a word reads like one of the usual ones, in any case."""
    return name.casefold() in _IN_ANY_CASE


def about_missing(noun: str, values: Sequence[Any], words: frozenset[str]) -> list[str]:
    """A note on the words that were taken for missing values; none where there are none.

    Args:
        noun: what the values are, such as "label".
        values: as they were found.
        words: that stand for a missing value.
    """
    found = Counter(text for value in values if (text := _written(value)) in words)
    if not found:
        return []
    listed = ", ".join(repr(word) for word, _ in found.most_common())
    were = "was" if found.total() == 1 else "were"
    return [
        f"{counted(found.total(), noun)} reading {listed} {were} taken for missing; if such a word is a value, give "
        "the words that stand for a missing one (option missing)."
    ]


def about_kept(names: Sequence[str]) -> list[str]:
    """A note on classes that are called as missing values are, in another case; none where there are none."""
    return [
        f"The class {name!r} is taken for a class; if it stands for a missing label, list it among the words for those "
        "(option missing)."
        for name in names
        if looks_missing(name)
    ]
