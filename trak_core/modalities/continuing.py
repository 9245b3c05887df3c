"""What encodings of language models know besides: how a prompt is read, and where its continuation stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError
from trak_core.media import Medium


@dataclass(frozen=True)
class Begun:
    """A prompt as a model reads it before it says anything."""

    inputs: dict[str, NDArray[np.int64]]  # `[1, length]` each
    room: int  # tokens that fit behind it at most, 1 or more
    ends: frozenset[int]  # tokens with which a model ends

    @classmethod
    def of(cls, ids: Sequence[int], room: int, ends: frozenset[int]) -> Begun:
        """A prompt of these tokens."""
        one = np.array([ids], dtype=np.int64)
        return cls({"input_ids": one, "attention_mask": np.ones_like(one)}, room, ends)


@dataclass(frozen=True)
class Continued:
    """An example that consists of a prompt and what follows."""

    contents: Any  # of this one example, as `Encoding.inputs` takes them
    media: tuple[Medium, ...]  # what people see of it
    text: int  # number of the text that the continuation stands in
    start: int  # its first character there


class Continues(ABC):
    """An encoding for models that go on with a text, or say another one to it."""

    @abstractmethod
    def begun(self, prompt: str) -> Begun:
        """A prompt without its continuation.

        Raises:
            InvalidDataError: it is longer than what is read, or has no token where one is needed.
        """

    @abstractmethod
    def said(self, begun: Begun, ids: Sequence[int]) -> str:
        """What tokens say that follow a prompt, without marks of the tokenizer's own."""

    @abstractmethod
    def continued(self, prompt: str, continuation: str) -> Continued:
        """A prompt with its continuation."""


def check_room(n_tokens: int, most: int) -> None:
    """Refuses a prompt of nothing, or of more tokens than the models of a run read.

    Raises:
        InvalidDataError: as told.
    """
    if n_tokens == 0:
        raise InvalidDataError("the tokenizer of this run makes no token of this prompt; type some words.")
    if n_tokens > most:
        raise InvalidDataError(
            f"this prompt has {n_tokens:,} tokens, and the models of this run read up to {most:,} of it; shorten it."
        )
