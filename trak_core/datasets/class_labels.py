"""From the labels in a table or folder to numbered classes, or to the reason why they name none."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from trak_core.datasets.sources import natural_key
from trak_core.errors import EmptyDataError, LabelError

MAX_CLASSES = 1000
FEW_CLASSES = 20
"""So many are never too many, however few the rows are."""
# The numbers that people write, not all that Python reads: "1_000" or digits of other scripts stay words.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


def name_classes(labels: Sequence[Any], places: Sequence[str], source: str) -> tuple[tuple[str, ...], list[int | None]]:
    """The names of the classes, and for each label the number of its class; None where a label is missing.

    Numbers stand in their order, anything else as people sort it; 3.0 and 3 are one class, and so are 03 and +3. A
    label is missing that is None, empty, only blanks, or no finite number where the others are numbers.

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
            known[key] = _name(label)
        names.append(known[key])
    if all(_NUMBER.fullmatch(name) for name in known.values() if name is not None):
        whole = _whole_numbers({name for name in known.values() if name is not None})
        for name, place in zip(names, places, strict=True):
            if name is not None and whole[name] == "":
                raise LabelError(
                    f"{place}: the label is {name}, a number with decimals, which looks like regression; name a column "
                    "that holds classes, or put such numbers into classes first."
                )
        names = [None if name is None else whole[name] for name in names]
        classes = sorted({name for name in names if name is not None}, key=lambda name: (Decimal(name), name))
    else:
        classes = sorted({name for name in names if name is not None}, key=natural_key)
    _refuse_odd_counts(classes, names, source)
    number = {name: number for number, name in enumerate(classes)}
    return tuple(classes), [None if name is None else number[name] for name in names]


def _name(label: Any) -> str | None:
    """The label as text, None if it is missing; True and False as Python writes them."""
    if label is None or label != label:  # the latter holds for NaN alone
        return None
    return unicodedata.normalize("NFC", str(label)).strip() or None


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
