"""Passages as a modality: contents are a list of strings, all of which a model is trained to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trak_core.errors import InvalidDataError
from trak_core.inputs import ArrayInputs
from trak_core.media import Medium, first_text
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.passage.causal_models import CausalModels
from trak_core.modalities.passage.passage_tokens import PassageTokens
from trak_core.modalities.text.modality import TextModality
from trak_core.modalities.text.word_ids import weights_of_ids


class PassageModality(TextModality):
    """Passages of a few dozen words."""

    name = "passage"
    noun = "passage"
    plural = "passages"
    encodings = (PassageTokens,)
    models = ()
    libraries = (CausalModels(),)

    def contents(self, media: Sequence[tuple[Medium, ...]], encoding: Encoding) -> list[str]:
        """The texts."""
        texts = [text for one in media if (text := first_text(one)) is not None]
        if encoding.kind != PassageTokens.kind or len(texts) != len(media):
            raise InvalidDataError(
                f"{len(texts):,} of {len(media):,} examples have a text, and their encoding is {encoding.kind!r}; "
                f"passages have one each, and {PassageTokens.kind}"
            )
        return texts

    def linear_rows(self, train: ArrayInputs, test: ArrayInputs) -> tuple[Any, Any]:
        """Weights of the ids that are read."""
        assert isinstance(train, dict)  # as the encoding makes them
        assert isinstance(test, dict)
        return weights_of_ids(train["input_ids"], test["input_ids"])
