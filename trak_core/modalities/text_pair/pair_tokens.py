"""Pairs of texts as language models read them, and what of them these are trained to say: the second text alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from trak_core.inputs import ArrayInputs
from trak_core.media import Text
from trak_core.modalities.continuing import Begun, Continued, Continues, check_room
from trak_core.modalities.encoding import Encoding, TokenPlace
from trak_core.modalities.passage.passage_tokens import IGNORED
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
from trak_core.modalities.text_pair.chats import Written, has_template, written

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

    def notes(self, contents: TextPairs, split: str) -> tuple[str, ...]:
        """How many texts are longer than what is read of them."""
        both = self._written(contents)
        texts = ([pair.prompt for pair in both], [pair.completion for pair in both])
        lengths = (self.length, self.target_length)
        cut = (
            cut_note(self.tokenizer, texts[i], lengths[i], f"{split} {self._nouns[i]}", self._cut[i], self._has_marks)
            for i in range(2)
        )
        return tuple(note for note in cut if note)

    _nouns: ClassVar[tuple[str, str]] = ("source", "target")
    _cut: ClassVar[tuple[str, str]] = ("end", "end")
    _has_marks: ClassVar[bool] = True

    def _written(self, contents: TextPairs) -> list[Written]:
        """The pairs as the model reads them."""
        pairs = zip(contents["source"], contents["target"], strict=True)
        return [written(self.tokenizer, source, target, False, False) for source, target in pairs]


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
        (ids,) = token_ids(self.tokenizer, [prompt], None)
        check_room(len(prompt_ids(self.tokenizer, prompt)) and len(ids), self.length)
        return Begun.of(ids, self.target_length, ending_ids(self.tokenizer))

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
    _nouns = ("prompt", "completion")
    _cut = ("beginning", "end")
    _has_marks = False

    by_template: bool = False  # whether the chat template of the tokenizer is applied
    has_turns: bool = False  # whether prompts are conversations

    @classmethod
    def from_metadata(cls, kept: Mapping[str, Any]) -> Self:
        """As in `Encoding`; older runs know no templates."""
        return super().from_metadata({"by_template": False, "has_turns": False, **kept})

    def settled(self, told: Mapping[str, Any]) -> Self:
        """As in `Encoding`."""
        by_template = self.by_template and bool(told.get("chat_template", True))
        return replace(self, by_template=by_template, has_turns=bool(told.get("has_turns", self.has_turns)))

    def notes(self, contents: TextPairs, split: str) -> tuple[str, ...]:
        """As in `Encoding`, and whether a chat template is applied."""
        plain = "prompt and completion follow each other as they are"
        template = f"The tokenizer's chat template is not applied: {plain}."
        if self.by_template:
            template = "The tokenizer's chat template is applied; --no-chat-template leaves it out."
        elif not has_template(self.tokenizer):
            template = f"The tokenizer has no chat template: {plain}."
        return (template, *super().notes(contents, split))

    def inputs(self, contents: TextPairs) -> dict[str, NDArray[np.int64]]:
        """Ids of prompt and completion, which are real, and labels: -100 at the prompt and behind the completion.

        Of a prompt that is too long the end is kept, which the completion follows.
        """
        n, width = len(contents["source"]), self.length + self.target_length
        ids, mask = np.zeros((n, width), dtype=np.int64), np.zeros((n, width), dtype=np.int64)
        labels = np.full((n, width), IGNORED, dtype=np.int64)
        pairs = self._written(contents)
        prompts = token_ids(self.tokenizer, [pair.prompt for pair in pairs], None, add_special_tokens=False)
        completions = token_ids(
            self.tokenizer, [pair.completion for pair in pairs], self.target_length, add_special_tokens=False
        )
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            prompt = prompt[-self.length :]
            stop = len(prompt) + len(completion)
            ids[row, :stop], mask[row, :stop] = [*prompt, *completion], 1
            labels[row, len(prompt) : stop] = completion
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def begun(self, prompt: str) -> Begun:
        """As in `Continues`."""
        asked = written(self.tokenizer, prompt, "", self.by_template, self.has_turns).prompt
        ids = prompt_ids(self.tokenizer, asked, with_marks=False)
        check_room(len(ids), self.length)
        return Begun.of(ids, self.target_length, ending_ids(self.tokenizer))

    def said(self, begun: Begun, ids: Sequence[int]) -> str:
        """As in `Continues`."""
        return said_behind(self.tokenizer, begun.inputs["input_ids"][0].tolist(), ids)

    def tokens_read(self, texts: Sequence[str]) -> list[TokenPlace]:
        """As in `Encoding`: the end of the first text, then the second."""
        (pair,) = self._written({"source": texts[:1], "target": texts[1:2]})
        prompt, completion = (
            token_spans(self.tokenizer, text, with_marks=False) for text in (pair.prompt, pair.completion)
        )
        return [
            *_seen(0, prompt[-self.length :], pair.of_prompt),
            *_seen(1, completion[: self.target_length], pair.of_completion),
        ]

    def _written(self, contents: TextPairs) -> list[Written]:
        pairs = zip(contents["source"], contents["target"], strict=True)
        return [written(self.tokenizer, *pair, self.by_template, self.has_turns) for pair in pairs]


def _seen(text: int, spans: Sequence[tuple[int, int]], stretches: Sequence[tuple[int, int, int]]) -> list[TokenPlace]:
    """Where tokens of a text as it is written stand in the one that people see; nowhere, for those of a template."""
    places = []
    for start, end in spans:
        found = [
            (max(start, there), min(end, there + length), here - there)
            for there, here, length in stretches
            if start < there + length and there < end
        ]
        first, last, shift = found[0] if found else (0, 0, 0)
        places.append(TokenPlace(text, first + shift, last + shift))
    return places


@dataclass(frozen=True)
class PairTokenizer:
    """The tokenizer of a pretrained model, for pairs."""

    source: str  # its folder, or its name on Hugging Face
    kind: type[SourceTarget] | type[PromptCompletion]  # of the encoding
    longest: int  # tokens of a text that are read at most, of both together where they share the model's positions
    longest_target: int | None = None  # likewise, of the second one alone; None for no less

    def learn(self, contents: TextPairs, source: str) -> Encoding:
        """Tokens of lengths that hold 95% of the texts whole, of prompts and completions all, if the model reads them.

        Where a prompt and its completion share positions, a long completion leaves half of them to the prompt.
        """
        most = self.longest if self.longest_target is None else self.longest_target
        if self.kind is SourceTarget:
            read = usual_length(self.source, contents["source"], self.longest)
            return SourceTarget(self.source, read, usual_length(self.source, contents["target"], most))
        # Whether there are turns is settled later; the longer form is counted.
        learnt = PromptCompletion(self.source, 1, 1, has_template(self.source), has_turns=True)
        pairs = learnt._written(contents)
        prompts, completions = [pair.prompt for pair in pairs], [pair.completion for pair in pairs]
        half = min(self.longest // 2, usual_length(self.source, prompts, self.longest, percent=100))
        told = usual_length(self.source, completions, min(most, self.longest - half), percent=100)
        read = usual_length(self.source, prompts, self.longest - told, percent=100)
        return replace(learnt, length=read, target_length=told)
