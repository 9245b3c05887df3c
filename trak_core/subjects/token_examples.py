"""Tokenized texts as they come, each as long as it is: of a tokenizer, or the data set that a Trainer takes.

They are put together as Hugging Face's data collators do it: filled up on the right, masked, and labels of what is
filled up are -100, so that any id will do there and no tokenizer is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trak_core.errors import EmptyDataError, InvalidDataError, ShapeMismatchError
from trak_core.tasks.ragged import IGNORED, LABELS, MASK
from trak_core.tasks.tokens import IDS

LABEL_NAMES = (LABELS, "label", "label_ids")
"""What labels are called in data sets; models take them as "labels"."""


class Rows(Protocol):
    """Tokenized texts by number."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, row: int, /) -> Mapping[str, Any]:
        """One text: its ids `[length]`, and whatever else is known of it."""


def token_rows(source: Any) -> Rows | None:
    """The texts of a source one by one, where it holds tokenized texts that are in no batches; None otherwise."""
    if isinstance(source, Mapping):
        ids = source.get(IDS)
        return _Columns(dict(source)) if isinstance(ids, list) and _n_axes(ids) == 2 else None
    if isinstance(source, str | bytes | Tensor | np.ndarray) or not hasattr(source, "__getitem__"):
        return None
    try:
        first = source[0] if len(source) else None
    except (IndexError, KeyError, TypeError):
        return None
    return source if isinstance(first, Mapping) and _n_axes(first.get(IDS)) == 1 else None


def _n_axes(values: Any) -> int:
    """Number of axes of an array, or of lists in each other, which may differ in length; 0 for anything else."""
    if isinstance(values, list | tuple):
        return 1 + (_n_axes(values[0]) if values else 0)
    return int(values.ndim) if isinstance(values, Tensor | np.ndarray) else 0


class _Columns:
    """Texts that a tokenizer gives by columns, such as a list of lists of ids."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns[IDS])

    def __getitem__(self, row: int, /) -> Mapping[str, Any]:
        return {name: values[row] for name, values in self._columns.items()}


class TokenExamples:
    """Batches of tokenized texts as dicts of arrays `[n, length]`, in order.

    Args:
        rows: the texts.
        what: "train" or "test", for messages.
        batch_size: texts in a batch, which is as long as its longest.
        taken: names of the inputs that the model takes; others are left out, as a Trainer does. None: all numbers.
    """

    def __init__(self, rows: Rows, what: str, batch_size: int, taken: Sequence[str] | None) -> None:
        self._rows, self._what, self._batch_size, self._taken = rows, what, batch_size, taken

    @property
    def n_examples(self) -> int:
        """Number of texts."""
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        """All batches.

        Raises:
            EmptyDataError: a text has no tokens.
            InvalidDataError: texts differ in what they hold.
        """
        for start in range(0, len(self._rows), self._batch_size):
            numbers = range(start, min(len(self._rows), start + self._batch_size))
            yield self._batch([self._read(number) for number in numbers], start)

    def _read(self, number: int) -> dict[str, NDArray[Any]]:
        """The numbers of one text by the names that models give them."""
        read: dict[str, NDArray[Any]] = {}
        for name, value in self._rows[number].items():
            if value is None or (self._taken is not None and name not in (*self._taken, *LABEL_NAMES)):
                continue
            values = np.asarray(value)
            values = values.astype(np.int64) if values.size == 0 or values.dtype.kind == "b" else values
            if values.dtype.kind in "iuf":
                read[LABELS if name in LABEL_NAMES else name] = values
            elif self._taken is not None:
                raise InvalidDataError(
                    f"{self._what} example {number}: {name!r} is of type {values.dtype}; give numbers, all of one kind."
                )
        if IDS not in read or read[IDS].ndim != 1:
            raise InvalidDataError(f"{self._what} example {number} has no {IDS}; give the ids that a tokenizer makes.")
        if not len(read[IDS]):
            raise EmptyDataError(f"{self._what} example {number} is an empty text, without tokens; leave it out.")
        if MASK not in read and (self._taken is None or MASK in self._taken):
            read[MASK] = np.ones(len(read[IDS]), dtype=np.int64)
        return read

    def _batch(self, texts: Sequence[dict[str, NDArray[Any]]], start: int) -> dict[str, NDArray[Any]]:
        for place, text in enumerate(texts):
            if text.keys() != texts[0].keys():
                raise InvalidDataError(
                    f"{self._what} example {start + place} holds {', '.join(text)}, and example {start} holds "
                    f"{', '.join(texts[0])}; give all the same."
                )
        return {name: self._filled(name, [text[name] for text in texts]) for name in texts[0]}

    def _filled(self, name: str, values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        if len({each.shape for each in values}) == 1:
            return np.stack(values)
        if any(each.ndim != 1 or each.dtype.kind == "f" for each in values):
            raise ShapeMismatchError(f"{self._what} {name!r} differ in shape; give each text an entry of one shape.")
        filled = np.full((len(values), max(map(len, values))), IGNORED if name == LABELS else 0, dtype=np.int64)
        for row, each in zip(filled, values, strict=True):
            row[: len(each)] = each
        return filled
