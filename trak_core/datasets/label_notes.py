"""What names of classes look like that people would want to know before anything is trained."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from trak_core.datasets.csv_dialect import sign_in_words
from trak_core.datasets.missing import about_kept

NAMED = 5
"""Names, or groups of names, that a note lists."""
_SEPARATORS = "|;,/+&"


def about_names(names: Sequence[str]) -> list[str]:
    """Notes on classes that may be one, that may be several labels, or that may stand for a missing label."""
    return [*_about_spelling(names), *_about_several(names), *about_kept(names)]


def about_spellings(labels: Sequence[Any], numbers: Sequence[int]) -> list[str]:
    """A note on labels that are written in several ways and were taken for one class; none where there are none.

    Args:
        labels: of the examples, as they were found.
        numbers: of their classes; below 0 where a label is missing.
    """
    written: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for number, label in zip(numbers, labels, strict=True):
        if number >= 0:
            written[number][str(label)] += 1
    several = [ways for _, ways in sorted(written.items()) if len(ways) > 1]
    if not several:
        return []
    listed = [_some([f"{_seen(way)} ({n:,})" for way, n in ways.most_common()]) for ways in several]
    return [
        "Labels that differ in blanks around them, in how Unicode composes letters or in how a number is written alone "
        f"were taken for one class: {_some(listed, '; ')}."
    ]


def _seen(label: str) -> str:
    """A label in quotes, with all that is invisible in it."""
    is_composed = unicodedata.is_normalized("NFC", label)
    return repr(label[:60]) if is_composed else ascii(label[:60])


def _about_spelling(names: Sequence[str]) -> list[str]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        folded = unicodedata.normalize("NFKC", name).casefold()
        folded = "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")  # of no width
        # Not all punctuation: "C", "C++" and "C#" are three.
        groups[re.sub(r"[\s_-]+", " ", folded).strip(" .,:;!\"'")].append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    listed = _some([" and ".join(_few(group)) for group in alike], "; ")
    return [
        f"Classes whose names differ in case, blanks or punctuation alone: {listed}; if they are one, write them alike."
    ]


def _about_several(names: Sequence[str]) -> list[str]:
    if lists := [name for name in names if re.fullmatch(r"\[.*\]", name)]:
        return [
            f"Class names such as {lists[0][:60]!r} are lists written as text, each a class of its own; "
            "give one label a row."
        ]
    for sign in _SEPARATORS:
        compound = {name: parts for name in names if len(parts := [p.strip() for p in name.split(sign)]) > 1}
        n_found = Counter(part for parts in compound.values() for part in set(parts))
        known = {name for name in names if name not in compound} | {part for part, n in n_found.items() if n > 1}
        if several := [name for name, parts in compound.items() if all(part and part in known for part in parts)]:
            return [
                f"Class names such as {_some(_few(several))} look like several labels in one field, parted by "
                f"{sign_in_words(sign)}; each combination is a class of its own here, so give one label a row if that "
                "is not meant."
            ]
    return []


def _few(names: Sequence[str]) -> list[str]:
    return [repr(name[:60]) for name in names]


def _some(listed: Sequence[str], between: str = ", ") -> str:
    return between.join(listed[:NAMED]) + (f"{between}..." if len(listed) > NAMED else "")
