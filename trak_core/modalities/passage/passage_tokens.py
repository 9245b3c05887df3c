"""Passages as a language model reads and is trained on them: subword tokens, all of which it has to tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.inputs import ArrayInputs
from trak_core.media import Text
from trak_core.modalities.continuing import Begun, Continued, Continues, check_room
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.text.subword_tokens import (
    cut_note,
    ending_ids,
    padded_ids,
    prompt_ids,
    said_behind,
    token_ids,
    token_spans,
    usual_length,
)

IGNORED = -100
"""The label of a token that is not asked about, as Hugging Face has it."""


@dataclass(frozen=True)
class PassageTokens(Encoding, Continues):
    """Passages as ids of subword tokens, for a model that goes on with a text."""

    kind = "passage_tokens"
    size_names = ("length",)
    form = "passages come as a dict of input_ids, attention_mask and labels, int64 [n, length] each"
    is_learnt = False
    has_tokens = True

    source: str  # the folder, or the name on Hugging Face, of the tokenizer
    length: int  # how many tokens of a passage are read

    def description(self) -> tuple[str, str]:
        """How much of a passage is read."""
        return "passages as the model takes them", f"the first {self.length:,} tokens of each"

    def notes(self, contents: Sequence[str], split: str) -> tuple[str, ...]:
        """How many passages are longer than what is read of them."""
        note = cut_note(self.source, contents, self.length, f"{split} passage")
        return (note,) if note else ()

    def inputs(self, contents: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Ids of the tokens, which are real, and labels, `[n, length]` each; padding stands behind, labelled -100.

        Raises:
            NeedNotMetError: the tokenizer is not there any more.
        """
        ids, mask = padded_ids(self.source, contents, self.length)
        return {"input_ids": ids, "attention_mask": mask, "labels": np.where(mask > 0, ids, IGNORED)}

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """As in `Encoding`."""
        return token_spans(self.source, text)[: self.length]

    def begun(self, prompt: str) -> Begun:
        """As in `Continues`."""
        ids = prompt_ids(self.source, prompt)
        check_room(len(ids), self.length - 1)
        return Begun.of(ids, self.length - len(ids), ending_ids(self.source))

    def said(self, begun: Begun, ids: Sequence[int]) -> str:
        """As in `Continues`."""
        return said_behind(self.source, begun.inputs["input_ids"][0].tolist(), ids)

    def continued(self, prompt: str, continuation: str) -> Continued:
        """As in `Continues`."""
        text = prompt + continuation
        return Continued([text], (Text(text),), 0, len(prompt))

    def labels(self, inputs: ArrayInputs) -> NDArray[Any]:
        """The tokens themselves."""
        assert isinstance(inputs, dict)  # made above
        return np.asarray(inputs["labels"])

    def empty(self, inputs: ArrayInputs) -> NDArray[np.bool_]:
        """Passages of fewer than two tokens: nothing in them follows from anything."""
        assert isinstance(inputs, dict)
        return np.asarray(inputs["attention_mask"].sum(axis=1) < 2)


@dataclass(frozen=True)
class PassageTokenizer:
    """The tokenizer of a pretrained language model, for passages."""

    source: str  # its folder, or its name on Hugging Face
    longest: int  # tokens of a passage that are read at most

    def learn(self, contents: Sequence[str], source: str) -> PassageTokens:
        """Tokens of a length that holds 95% of the passages whole, and no more than the model reads.

        Raises:
            InvalidSettingError: the model reads less than half of the passages whole.
        """
        usual = int(np.median([len(ids) for ids in token_ids(self.source, contents, None)]))
        if usual > self.longest:
            words = float(np.median([len(text.split()) for text in contents]))
            fewer = int(0.8 * words * self.longest / usual)
            advice = (
                f"give fewer words a passage, such as --words {fewer}" if fewer >= 4 else "take one that reads more"
            )
            raise InvalidSettingError(
                f"half of the passages have more than {usual - 1:,} tokens, and no more than {self.longest:,} are read "
                f"by the model in {self.source!r}; {advice}."
            )
        return PassageTokens(self.source, usual_length(self.source, contents, self.longest, least=2))
