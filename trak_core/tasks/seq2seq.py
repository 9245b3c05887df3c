"""Models from text to text: T5, mT5, BART and their like, `AutoModelForSeq2SeqLM` of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trak_core.errors import InvalidDataError
from trak_core.tasks.model_kinds import FILLS_IN, GOES_ON
from trak_core.tasks.outputs import Inputs, Model, read_logits
from trak_core.tasks.ragged import LABELS
from trak_core.tasks.tokens import TokenTask, without_labels


@dataclass(frozen=True)
class Seq2Seq(TokenTask):
    """Every token of the target text given the source text and those before it.

    Inputs are a dict with `labels`, the ids of the target text, -100 where nothing is asked; where there are no
    `decoder_input_ids` the model makes them of the labels.
    """

    name = "seq2seq"
    _wrong_kinds: ClassVar[Mapping[str, str]] = {
        GOES_ON: "it has no encoder for a source text; use task='causal_lm', with -100 as the labels of the prompt",
        FILLS_IN: "it has no decoder that tells a target text; use task='masked_lm', or "
        "'text_classification' with classes",
    }

    def tokens(self, inputs: Inputs) -> Tensor:
        """As in `TokenTask`: the labels."""
        if not isinstance(inputs, dict) or LABELS not in inputs:
            raise InvalidDataError(
                "inputs hold no labels; a model from text to text takes a dict with input_ids and labels, the ids of "
                "the target text."
            )
        return inputs[LABELS]

    def followed(self, inputs: Inputs, ids: Tensor) -> Inputs:
        """As in `TokenTask`: as labels."""
        assert isinstance(inputs, dict)  # or there is nothing to put them beside
        return {**inputs, LABELS: ids}

    def places(self, inputs: Inputs) -> Tensor:
        """The tokens of the target text."""
        return self.tokens(inputs) >= 0

    def token_logits(self, model: Model, inputs: Inputs) -> Tensor:
        """As in `TokenTask`."""
        self.tokens(inputs)
        assert isinstance(inputs, dict)  # or there are no labels
        return read_logits(model, without_labels(inputs) if "decoder_input_ids" in inputs else inputs)
