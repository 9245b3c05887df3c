"""Rows of numbers as a modality: contents are float32 `[n, n_numbers]`, and a row is shown as a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.inputs import ArrayInputs, all_zero, count, flat_rows
from trak_core.media import Medium, Text, first_text
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.modality import Modality
from trak_core.modalities.new_input import Field, NewInput, NewInputReader, Type

FIELD = "numbers"
LEAST_DEVIATION = 1e-6
"""Where all train numbers of a column are the same there is nothing to standardise by."""

ENOUGH = 4
"""So many zeros are no values; fewer may well be, as in a table of truth."""


@dataclass(frozen=True)
class Standardised(Encoding):
    """Each column less its mean, over its standard deviation."""

    kind = "standardised"
    size_names = ("n_numbers",)
    form = "rows come as standardised numbers, float32 [n, n_numbers]"

    mean: tuple[float, ...]  # of each column over the train rows
    deviation: tuple[float, ...]  # standard deviation, likewise

    @classmethod
    def learn(cls, contents: NDArray[np.float32], source: str) -> Standardised:
        """Mean and deviation of the columns."""
        mean, deviation = contents.mean(axis=0, dtype=np.float64), contents.std(axis=0, dtype=np.float64)
        return cls(tuple(mean.tolist()), tuple(np.maximum(deviation, LEAST_DEVIATION).tolist()))

    def inputs(self, contents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised rows: float32 `[n, n_numbers]`."""
        rows = (contents - np.asarray(self.mean)) / np.asarray(self.deviation)
        return np.asarray(rows, dtype=np.float32)

    def sizes(self) -> dict[str, int]:
        """The number of columns."""
        return {"n_numbers": len(self.mean)}

    def description(self) -> tuple[str, str]:
        """How many numbers a row has."""
        return "rows as the model takes them", f"{len(self.mean):,} numbers, each standardised"


def numbers_in_words(row: NDArray[np.float32]) -> str:
    """The numbers of a row, so that each can be read back exactly: "5.1, 3.5, 1.4"."""
    return ", ".join(str(value) for value in np.asarray(row, dtype=np.float32))


def numbers_in(text: str, n_numbers: int) -> NDArray[np.float32]:
    """The row that a text gives, float32 `[n_numbers]`.

    Raises:
        EmptyDataError: the text is empty.
        InvalidDataError: it holds something else than so many finite numbers.
    """
    parts = text.replace(",", " ").replace(";", " ").split()
    if not parts:
        raise EmptyDataError(f"there are no numbers yet; type {n_numbers:,}, as in 5.1, 3.5.")
    try:
        row = np.array([float(part) for part in parts], dtype=np.float32)
    except ValueError as error:
        raise InvalidDataError(
            f"{text[:60]!r} holds something else than numbers; type {n_numbers:,} with commas between."
        ) from error
    if len(row) != n_numbers or not np.isfinite(row).all():
        raise InvalidDataError(
            f"{text[:60]!r} holds {len(row):,} numbers; the model takes {n_numbers:,} finite ones, with commas between."
        )
    return row


class NewNumbers(NewInputReader):
    """A row that somebody types."""

    invitation = "Type the numbers"

    def __init__(self, n_numbers: int) -> None:
        self.n_numbers = n_numbers
        caption = f"{n_numbers:,} numbers with commas between, with a point before decimals."
        self.fields = (Field(FIELD, (Type("Numbers", caption, is_long=False),)),)

    def read(self, given: Mapping[str, Any]) -> NewInput:
        """As in `NewInputReader`."""
        row = numbers_in(str(given[FIELD]), self.n_numbers)
        return NewInput(row[None], (Text(numbers_in_words(row)),))


class NumberModality(Modality):
    """Rows of numbers."""

    name = "numbers"
    noun = "row"
    plural = "rows"
    encodings = (Standardised,)
    has_words = False

    def media(self, contents: NDArray[np.float32]) -> list[tuple[Medium, ...]]:
        """Each row as a text of its numbers."""
        return [(Text(numbers_in_words(row)),) for row in contents]

    def contents(self, media: Sequence[tuple[Medium, ...]], encoding: Encoding) -> NDArray[np.float32]:
        """The numbers in the texts."""
        n_numbers = encoding.sizes().get("n_numbers", 0)
        return np.stack([numbers_in(first_text(one) or "", n_numbers) for one in media])

    def amount(self, media: Sequence[tuple[Medium, ...]]) -> NDArray[np.float64]:
        """The sum of the numbers of each row."""
        texts = [first_text(one) or "" for one in media]
        return np.array([sum(map(float, text.split(","))) if text else 0.0 for text in texts])

    def new_inputs(self, encoding: Encoding) -> NewNumbers:
        """A row that somebody types."""
        return NewNumbers(encoding.sizes()["n_numbers"])

    def empty(self, inputs: ArrayInputs, encoding: Encoding | None) -> NDArray[np.bool_]:
        """Rows of zeros, of enough numbers that these can hardly be their values."""
        return all_zero(inputs) if flat_rows(inputs).shape[1] >= ENOUGH else np.zeros(count(inputs), dtype=bool)

    def sizes(self, train: NDArray[np.float32], test: NDArray[np.float32]) -> str:
        """How many numbers a row has."""
        return f"Rows of {train.shape[1]:,} numbers."
