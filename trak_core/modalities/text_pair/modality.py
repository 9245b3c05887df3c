"""Pairs of texts as a modality: a source and its target, a prompt and its completion."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from trak_core.errors import InvalidDataError
from trak_core.inputs import ArrayInputs
from trak_core.media import Medium, Text
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.modality import Modality
from trak_core.modalities.text.word_ids import weights_of_ids
from trak_core.modalities.text.words import words_of_media
from trak_core.modalities.text_pair.pair_models import PairModels
from trak_core.modalities.text_pair.pair_tokens import TARGET, PromptCompletion, SourceTarget, TextPairs


class TextPairModality(Modality):
    """What is given, and what a model is to say to it."""

    name = "text_pair"
    noun = "pair of texts"
    plural = "pairs of texts"
    encodings = (SourceTarget, PromptCompletion)
    libraries = (PairModels(),)

    def media(self, contents: TextPairs) -> list[tuple[Medium, ...]]:
        """Both texts, one after the other."""
        pairs = zip(contents["source"], contents["target"], strict=True)
        return [(Text(source), Text(target, TARGET)) for source, target in pairs]

    def contents(self, media: Sequence[tuple[Medium, ...]], encoding: Encoding) -> TextPairs:
        """As in `Modality`."""
        texts = [[each.text for each in one if isinstance(each, Text)] for one in media]
        if encoding.kind not in {each.kind for each in self.encodings} or any(len(pair) != 2 for pair in texts):
            raise InvalidDataError(
                f"examples have {sorted({len(pair) for pair in texts})} texts, and their encoding is "
                f"{encoding.kind!r}; pairs have two each, and {' or '.join(each.kind for each in self.encodings)}"
            )
        return {"source": [pair[0] for pair in texts], "target": [pair[1] for pair in texts]}

    def keys(self, contents: TextPairs) -> Iterator[bytes]:
        """Pairs are the same whose texts are, but for blanks."""
        for pair in zip(contents["source"], contents["target"], strict=True):
            plain = "\0".join(" ".join(text.split()) for text in pair)
            yield hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest()

    def words(
        self, train: Sequence[tuple[Medium, ...]], test: Sequence[tuple[Medium, ...]]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Words of both texts together, as those of texts alone."""
        return words_of_media(train, test)

    def linear_rows(self, train: ArrayInputs, test: ArrayInputs) -> tuple[Any, Any]:
        """Weights of the ids that are read."""
        assert isinstance(train, dict)  # both encodings make such
        assert isinstance(test, dict)
        return weights_of_ids(train["input_ids"], test["input_ids"])
