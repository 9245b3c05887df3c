"""Pairs of texts as language models read them, and what of them these are trained to say: the second text alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from trak_core.inputs import ArrayInputs
from trak_core.media import Text
from trak_core.modalities.continuing import Begun, Continued, Continues, check_room
from trak_core.modalities.encoding import Encoding, TokenPlace
from trak_core.modalities.passage.passage_tokens import IGNORED
from trak_core.modalities.text.subword_tokens import (
    ending_ids,
    padded_ids,
    prompt_ids,
    said_behind,
    token_ids,
    token_spans,
    usual_length,
)

TARGET = "what follows"
"""Name of the second text, for people."""


class TextPairs(TypedDict):
    """Contents of n examples."""

    source: Sequence[str]  # what is given
    target: Sequence[str]  # what a model is to say


@dataclass(frozen=True)
class _PairTokens(Encoding, Continues):
    size_names = ("length", "target_length")
    is_learnt = False
    has_tokens = True

    tokenizer: str  # its folder, or its name on Hugging Face
    length: int  # how many tokens of the first text are read
    target_length: int  # likewise, of the second one

    def labels(self, inputs: ArrayInputs) -> NDArray[Any]:
        """The tokens of the second text."""
        assert isinstance(inputs, dict)  # made here
        return np.asarray(inputs["labels"])

    def description(self) -> tuple[str, str]:
        """How much is read."""
        return (
            "texts as the model takes them",
            f"{self.length:,} tokens, and {self.target_length:,} of what it is to say",
        )

    def empty(self, inputs: ArrayInputs) -> NDArray[np.bool_]:
        """Pairs whose second text has no token."""
        return np.asarray((self.labels(inputs) < 0).all(axis=1))

    def continued(self, prompt: str, continuation: str) -> Continued:
        """As in `Continues`."""
        return Continued(
            {"source": [prompt], "target": [continuation]}, (Text(prompt), Text(continuation, TARGET)), 1, 0
        )


@dataclass(frozen=True)
class SourceTarget(_PairTokens):
    """For models from text to text: the first text is read by the encoder, the second told by the decoder."""

    kind = "source_target_tokens"
    form = "pairs come as a dict of input_ids, attention_mask [n, length] and labels [n, target_length], int64"

    def inputs(self, contents: TextPairs) -> dict[str, NDArray[np.int64]]:
        """Ids and mask of the first texts, and labels: ids of the second ones, -100 behind them."""
        ids, mask = padded_ids(self.tokenizer, contents["source"], self.length)
        told, real = padded_ids(self.tokenizer, contents["target"], self.target_length)
        return {"input_ids": ids, "attention_mask": mask, "labels": np.where(real > 0, told, IGNORED)}

    def begun(self, prompt: str) -> Begun:
        """As in `Continues`."""
        (ids,) = token_ids(self.tokenizer, [prompt], None, verbose=False)
        check_room(len(prompt_ids(self.tokenizer, prompt)) and len(ids), self.length)
        one = np.array([ids], dtype=np.int64)
        inputs = {"input_ids": one, "attention_mask": np.ones_like(one)}
        return Begun(inputs, self.target_length, ending_ids(self.tokenizer))

    def said(self, begun: Begun, ids: Sequence[int]) -> str:
        """As in `Continues`."""
        return said_behind(self.tokenizer, [], ids)

    def tokens_read(self, texts: Sequence[str]) -> list[TokenPlace]:
        """As in `Encoding`: those of the first text."""
        return _places(0, token_spans(self.tokenizer, texts[0]))[: self.length]

    def tokens_told(self, texts: Sequence[str]) -> list[TokenPlace]:
        """As in `Encoding`: those of the second text."""
        return _places(1, token_spans(self.tokenizer, texts[1]))[: self.target_length]


def _places(text: int, spans: Sequence[tuple[int, int]]) -> list[TokenPlace]:
    return [TokenPlace(text, start, end) for start, end in spans]


@dataclass(frozen=True)
class PromptCompletion(_PairTokens):
    """For models that go on with a text: one behind the other, and only the completion is learnt."""

    kind = "prompt_completion_tokens"
    form = "pairs come as a dict of input_ids, attention_mask and labels, int64 [n, length + target_length] each"

    def inputs(self, contents: TextPairs) -> dict[str, NDArray[np.int64]]:
        """Ids of prompt and completion, which are real, and labels: -100 at the prompt and behind the completion.

        Of a prompt that is too long the end is kept, which the completion follows.
        """
        n, width = len(contents["source"]), self.length + self.target_length
        ids, mask = np.zeros((n, width), dtype=np.int64), np.zeros((n, width), dtype=np.int64)
        labels = np.full((n, width), IGNORED, dtype=np.int64)
        prompts = token_ids(self.tokenizer, contents["source"], None, add_special_tokens=False)
        completions = token_ids(self.tokenizer, contents["target"], self.target_length, add_special_tokens=False)
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            prompt = prompt[-self.length :]
            stop = len(prompt) + len(completion)
            ids[row, :stop], mask[row, :stop] = [*prompt, *completion], 1
            labels[row, len(prompt) : stop] = completion
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def begun(self, prompt: str) -> Begun:
        """As in `Continues`."""
        ids = prompt_ids(self.tokenizer, prompt, with_marks=False)
        check_room(len(ids), self.length)
        one = np.array([ids], dtype=np.int64)
        inputs = {"input_ids": one, "attention_mask": np.ones_like(one)}
        return Begun(inputs, self.target_length, ending_ids(self.tokenizer))

    def said(self, begun: Begun, ids: Sequence[int]) -> str:
        """As in `Continues`."""
        return said_behind(self.tokenizer, begun.inputs["input_ids"][0].tolist(), ids)

    def tokens_read(self, texts: Sequence[str]) -> list[TokenPlace]:
        """As in `Encoding`: the end of the first text, then the second."""
        prompt, completion = (token_spans(self.tokenizer, text, with_marks=False) for text in texts)
        return _places(0, prompt[-self.length :]) + _places(1, completion[: self.target_length])


@dataclass(frozen=True)
class PairTokenizer:
    """The tokenizer of a pretrained model, for pairs."""

    source: str  # its folder, or its name on Hugging Face
    kind: type[SourceTarget] | type[PromptCompletion]  # of the encoding
    longest: int  # tokens of the first text that are read at most
    longest_target: int  # likewise, of the second

    def learn(self, contents: TextPairs, source: str) -> Encoding:
        """Tokens of lengths that hold 95% of the texts whole, and no more than the model reads."""
        return self.kind(
            self.source,
            usual_length(self.source, contents["source"], self.longest),
            usual_length(self.source, contents["target"], self.longest_target),
        )
