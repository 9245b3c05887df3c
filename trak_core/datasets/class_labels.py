"""From the labels in a table or folder to numbered classes, or to the reason why they name none."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from trak_core.datasets.missing import USUAL_MISSING, is_missing, looks_missing
from trak_core.datasets.sources import natural_key
from trak_core.errors import EmptyDataError, LabelError

MAX_CLASSES = 1000
FEW_CLASSES = 20
"""So many are never too many, however few the rows are."""
# The numbers that people write, not all that Python reads: "1_000" or digits of other scripts stay words.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
# Decimals as much of Europe writes them. Three digits may as well be thousands.
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,(\d{1,2}|\d{4,})", re.ASCII)


def name_classes(
    labels: Sequence[Any], places: Sequence[str], source: str, missing: frozenset[str] = USUAL_MISSING
) -> tuple[tuple[str, ...], list[int | None]]:
    """The names of the classes, and for each label the number of its class; None where a label is missing.

    Numbers stand in their order, anything else as people sort it; 3.0 and 3 are one class, and so are 03 and +3. A
    label is missing that is None, empty, only blanks, one of the words for `missing`, or no finite number where the
    others are numbers; where they are, the usual words are missing values in any case.

    Raises:
        EmptyDataError: no label is there.
        LabelError: the labels name no classes: they have decimals, or there are too many.
    """
    known: dict[tuple[type, Any], str | None] = {}
    names: list[str | None] = []
    for label, place in zip(labels, places, strict=True):
        if isinstance(label, list | tuple | dict | set | bytes):
            kind = "bytes" if isinstance(label, bytes) else f"a {type(label).__name__}"
            raise LabelError(f"{place}: the label is {kind}, {str(label)[:40]}; give one name or number for each row.")
        key = (type(label), label)  # with the type, because True == 1
        if key not in known:
            known[key] = None if is_missing(label, missing) else _name(label)
        names.append(known[key])
    if missing == USUAL_MISSING and _are_numbers_but_for_missing(known.values()):
        names = [None if name is None or looks_missing(name) else name for name in names]
        known = {key: None if name is None or looks_missing(name) else name for key, name in known.items()}
    _refuse_decimal_commas(names, places)
    if all(_NUMBER.fullmatch(name) for name in known.values() if name is not None):
        whole = _whole_numbers({name for name in known.values() if name is not None})
        for name, place in zip(names, places, strict=True):
            if name is not None and whole[name] == "":
                raise LabelError(_with_decimals(name, place))
        names = [None if name is None else whole[name] for name in names]
        classes = sorted({name for name in names if name is not None}, key=lambda name: (Decimal(name), name))
    else:
        classes = sorted({name for name in names if name is not None}, key=natural_key)
    _refuse_odd_counts(classes, names, source)
    number = {name: number for number, name in enumerate(classes)}
    return tuple(classes), [None if name is None else number[name] for name in names]


def _name(label: Any) -> str | None:
    """The label as text, None if it is missing; True and False as Python writes them."""
    if label != label:  # NaN of any type
        return None
    return unicodedata.normalize("NFC", str(label)).strip() or None


def _are_numbers_but_for_missing(names: Iterable[str | None]) -> bool:
    found = [name for name in names if name is not None and not looks_missing(name)]
    return bool(found) and all(_NUMBER.fullmatch(name) for name in found)


def _refuse_decimal_commas(names: Sequence[str | None], places: Sequence[str]) -> None:
    """Refuses numbers with a comma and decimals; where all decimals are zero, they are classes like any words."""
    found = [name for name in names if name is not None]
    if not all(_DECIMAL_COMMA.fullmatch(name) or _NUMBER.fullmatch(name) for name in set(found)):
        return
    for name, place in zip(names, places, strict=True):
        if name is not None and "," in name and name.partition(",")[2].strip("0"):
            raise LabelError(_with_decimals(name, place))


def _with_decimals(name: str, place: str) -> str:
    return (
        f"{place}: the label is {name}, a number with decimals, which looks like regression; name a column that holds "
        "classes, or put such numbers into classes first."
    )


def _whole_numbers(names: set[str]) -> dict[str, str | None]:
    """For each number what `_whole` makes of it; a code such as "007" stays if nobody writes it in another way."""
    whole = {name: _whole(name) for name in names}
    spellings = Counter(whole.values())
    return {
        name: name if number and spellings[number] == 1 and name.lstrip("+-").isdecimal() else number
        for name, number in whole.items()
    }


def _whole(name: str) -> str | None:
    """A number without what says nothing, +03.0 as 3; None if it is no finite one, and "" if it has decimals."""
    number = Decimal(name)
    if not number.is_finite():
        return None
    if number != number.to_integral_value():
        return ""
    digits = f"{number.copy_abs():f}".partition(".")[0].lstrip("0") or "0"
    return f"-{digits}" if number < 0 else digits


def _refuse_odd_counts(classes: Sequence[str], names: Sequence[str | None], source: str) -> None:
    counts = Counter(name for name in names if name is not None)
    n_labels, n_classes = counts.total(), len(classes)
    if n_classes == 0:
        raise EmptyDataError(f"{source}: none of the {len(names):,} examples has a label; name the column of labels.")
    if n_classes > MAX_CLASSES or (n_classes > FEW_CLASSES and 2 * n_classes > n_labels):
        raise LabelError(
            f"{source}: there are {n_classes:,} different labels for {n_labels:,} examples; a class needs several "
            f"examples, and at most {MAX_CLASSES:,} classes are read, so name a column that holds classes."
        )
