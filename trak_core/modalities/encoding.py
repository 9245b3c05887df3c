"""What turns the contents of examples into the inputs of a model, the same for stored and for new examples."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError, NeedNotMetError
from trak_core.inputs import ArrayInputs, all_zero, count, leaves

Word = tuple[int, int, str]
"""Where a word starts and ends in its text, in characters, and the form by which it is known."""


def plain_words(text: str) -> list[Word]:
    """Runs of letters and digits, in small letters."""
    return [(found.start(), found.end(), found.group().lower()) for found in re.finditer(r"\w+", text)]


class TokenPlace(NamedTuple):
    """Where a token stands; `start` and `end` are equal where it stands nowhere, as marks of a tokenizer's own do."""

    text: int  # number of the text, among those of the example
    start: int  # first character
    end: int  # behind the last one


class Encoding(ABC):
    """What turns the contents of examples into inputs; a run keeps it as `metadata()` and reads it back."""

    kind: ClassVar[str]  # its name in a run, one word
    # of the sizes that a model for such inputs has to know, the telling one first
    size_names: ClassVar[tuple[str, ...]] = ()
    form: ClassVar[str] = ""  # what inputs are, one clause for people who write a model
    is_learnt: ClassVar[bool] = True  # whether it is learnt from examples; False where it comes with a model
    # whether examples may hold what it does not know, such as words; then `known_share` tells how much
    has_unknowns: ClassVar[bool] = False
    has_tokens: ClassVar[bool] = False  # whether it can tell where the tokens of an example stand

    @classmethod
    def learn(cls, contents: Any, source: str) -> Self:
        """The encoding that suits some examples, measured on them alone.

        Args:
            contents: of the train examples, as their modality has them.
            source: what they are, for messages.

        Raises:
            EmptyDataError: there is nothing to learn it from.
            NeedNotMetError: it is not learnt from examples.
        """
        raise NeedNotMetError(
            f"{source}: the encoding {cls.kind!r} is not learnt from examples; take the one that comes with the model."
        )

    def settled(self, told: Mapping[str, Any]) -> Self:
        """The encoding with what the reader of the data settled for new examples too, see `RawData.settled`."""
        return self

    @abstractmethod
    def inputs(self, contents: Any) -> ArrayInputs:
        """The inputs of examples, `[n, ...]` each: float32, or int64 for ids.

        Args:
            contents: of `n` examples, as their modality has them.
        """

    def labels(self, inputs: ArrayInputs) -> NDArray[Any] | None:
        """What a model is trained to say of examples, where that follows from their inputs; None where it does not.

        A language model is trained on the tokens of a text: int64 `[n, length]`, -100 where nothing is asked.
        """
        return None

    def metadata(self) -> dict[str, Any]:
        """All that makes up the encoding, in types that JSON has; without its kind. By default the dataclass fields."""
        values = {name: getattr(self, name) for name in self._field_names()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_metadata(cls, kept: Mapping[str, Any]) -> Self:
        """The encoding exactly as it was when `metadata` was asked; whatever is missing may raise anything."""
        values = {name: kept[name] for name in cls._field_names()}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    @classmethod
    def _field_names(cls) -> list[str]:
        return [field.name for field in fields(cast("Any", cls))]

    def sizes(self) -> dict[str, int]:
        """The sizes that a model for such inputs has to know, by name: those of `size_names` that it has itself."""
        return {name: getattr(self, name) for name in self.size_names if hasattr(self, name)}

    def description(self) -> tuple[str, str] | None:
        """What is made ready, and how, for people: as ("images as the model takes them", "8 x 8 pixels, grey")."""
        return None

    def notes(self, contents: Any, split: str) -> tuple[str, ...]:
        """What people should know of how the examples of a split are made ready, a sentence each: what is cut, say."""
        return ()

    def known_share(self, contents: Any) -> NDArray[np.float64]:
        """Share of each example that inputs can hold at all, 0 to 1 `[n]`; asked for where `has_unknowns`.

        Where a model knows some words only, this is the share of words that it knows: an input of unknown words alone
        is like any other such input, so that no distance tells that it is unlike the data.
        """
        return np.ones(count(contents))

    def words_in(self, text: str) -> list[Word]:
        """Where the words of a text are, as inputs tell them apart; by default runs of letters and digits."""
        return plain_words(text)

    def token_spans(self, text: str) -> list[tuple[int, int]] | None:
        """Where each token that a model reads stands in a text, start and end in characters; None without tokens.

        Of a text that is longer than what is read, the tokens that are.
        """
        return None

    def tokens_read(self, texts: Sequence[str]) -> list[TokenPlace] | None:
        """Where each token that a model reads of an example stands among its texts; None without tokens."""
        spans = self.token_spans(texts[0]) if texts else None
        return None if spans is None else [TokenPlace(0, start, end) for start, end in spans]

    def tokens_told(self, texts: Sequence[str]) -> list[TokenPlace] | None:
        """The same of the tokens that its labels name, place by place: those that are read, unless told otherwise."""
        return self.tokens_read(texts)

    def common_words(self) -> frozenset[str] | None:
        """Words that are in so many train examples that they tell little; None where it knows nothing of words."""
        return None

    def empty(self, inputs: ArrayInputs) -> NDArray[np.bool_]:
        """Which inputs hold nothing that a model could go by, bool `[n]`: by default those of nothing but zeros.

        Such as a text without any word that the encoding knows.
        """
        return all_zero(inputs)

    def check(self, inputs: ArrayInputs) -> None:
        """Refuses inputs that somebody made by hand and that no example can have.

        Raises:
            InvalidDataError: there are such; by default ids below 0.
        """
        for array in leaves(inputs):
            if array.dtype.kind in "iu" and array.min() < 0:
                raise InvalidDataError(f"inputs hold the id {array.min()}; ids are whole numbers from 0 on.")


class Learner(Protocol):
    """What learns an encoding: a class of encodings, or the tokenizer of a pretrained model."""

    def learn(self, contents: Any, source: str) -> Encoding:
        """As `Encoding.learn`."""
        ...
