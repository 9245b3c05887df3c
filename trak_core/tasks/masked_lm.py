"""Models that fill gaps in a text: BERT and its like, `AutoModelForMaskedLM` of Hugging Face."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trak_core.errors import InvalidDataError
from trak_core.tasks.outputs import Inputs, Model, read_logits
from trak_core.tasks.ragged import LABELS
from trak_core.tasks.tokens import IDS, TokenTask, without_labels


@dataclass(frozen=True)
class MaskedLM(TokenTask):
    """Every masked token given the others. Labels are the tokens that were masked, -100 at all other places."""

    name = "masked_lm"

    def tokens(self, inputs: Inputs) -> Tensor:
        """As in `TokenTask`: the labels."""
        if not isinstance(inputs, dict) or LABELS not in inputs:
            raise InvalidDataError(
                "inputs hold no labels; a model that fills gaps takes a dict with input_ids, in which tokens are "
                "masked, and labels, the ids of these tokens and -100 elsewhere."
            )
        if IDS in inputs:
            self._check_form(inputs[LABELS], inputs[IDS])
        return inputs[LABELS]

    def token_logits(self, model: Model, inputs: Inputs) -> Tensor:
        """As in `TokenTask`."""
        return read_logits(model, without_labels(inputs))
