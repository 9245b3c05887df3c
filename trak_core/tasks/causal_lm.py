"""Language models that go on with a text: GPT-2, Llama and their like, `AutoModelForCausalLM` of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from trak_core.tasks.model_kinds import FILLS_IN, TO_TEXT
from trak_core.tasks.outputs import Inputs, Model, read_logits
from trak_core.tasks.ragged import IGNORED, LABELS, MASK
from trak_core.tasks.tokens import IDS, TokenTask, ids_of, without_labels


@dataclass(frozen=True)
class CausalLM(TokenTask):
    """Every token given those before it. Labels are the ids of the text itself, -100 where nothing is asked.

    The first token of a text is never told, since nothing comes before it; its label counts for nothing, as in Hugging
    Face's models, which shift labels in the same way.
    """

    name = "causal_lm"
    _silent_because = " (or stand at the first token only, which nothing comes before)"
    _wrong_kinds: ClassVar[Mapping[str, str]] = {
        TO_TEXT: "it leads from text to text; use task='seq2seq', with the target text as labels",
        FILLS_IN: "it reads a text from both sides, so that it sees what it is to tell; use task='masked_lm', "
        "or 'text_classification' with classes",
    }

    def tokens(self, inputs: Inputs) -> Tensor:
        """As in `TokenTask`: the labels, or the whole text where there are none."""
        labels = inputs.get(LABELS) if isinstance(inputs, dict) else None
        told = ids_of(inputs) if labels is None else labels
        if labels is not None and isinstance(inputs, dict) and IDS in inputs:
            self._check_form(labels, ids_of(inputs))
        if isinstance(inputs, dict) and (mask := inputs.get(MASK)) is not None and mask.shape == told.shape:
            # Behind padding on the left the first token of a text has nothing before it.
            told = told.masked_fill(pad(mask[..., :-1], (1, 0)) == 0, IGNORED)
            told = told.masked_fill(mask == 0, IGNORED) if labels is None else told
        return pad(told[..., 1:], (1, 0), value=IGNORED)

    def followed(self, inputs: Inputs, ids: Tensor) -> Inputs:
        """As in `TokenTask`: behind those that are read."""
        whole = torch.cat([ids_of(inputs), ids], 1)
        return {IDS: whole, MASK: torch.ones_like(whole)}

    def asked(self, target: Tensor) -> Tensor:
        """As in `TokenTask`: never the first token."""
        return pad(target[..., 1:] >= 0, (1, 0), value=False)

    def places(self, inputs: Inputs) -> Tensor:
        """The tokens that are no padding, as the attention mask has them; all where there is none."""
        masked = super().places(inputs)
        return torch.ones_like(ids_of(inputs), dtype=torch.bool) if masked is None else masked

    def token_logits(self, model: Model, inputs: Inputs) -> Tensor:
        """As in `TokenTask`: the logits at a token are those of the next one."""
        logits = read_logits(model, without_labels(inputs))
        if logits.dim() < 3:
            return logits
        # Those of a prompt that is learnt, as adapters may put one before the text, are left out.
        logits = logits[..., -self.tokens(inputs).shape[-1] :, :]
        return pad(logits[..., :-1, :], (0, 0, 1, 0))
