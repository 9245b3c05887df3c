"""Texts as a modality: contents are a list of strings, and a text is shown as it was read."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from trak_core.errors import InvalidDataError
from trak_core.inputs import ArrayInputs, flat_rows
from trak_core.media import Medium, Text, first_text
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.modality import Modality
from trak_core.modalities.ready_model import HowTrained, ModelLibrary, ReadyModel
from trak_core.modalities.text.new_text import NewTexts
from trak_core.modalities.text.subword_tokens import SubwordTokens
from trak_core.modalities.text.transformers_models import HuggingFace
from trak_core.modalities.text.vocabulary import Vocabulary
from trak_core.modalities.text.word_ids import WordIds, weights_of_ids
from trak_core.modalities.text.words import words_of_media


def _networks() -> Any:
    """The module, imported when a model is made: torch takes seconds."""
    from trak_core.modalities.text import networks

    return networks


class TextModality(Modality):
    """Texts of any length."""

    name = "text"
    noun = "text"
    plural = "texts"
    encodings: ClassVar[tuple[type[Encoding], ...]] = (Vocabulary, WordIds, SubwordTokens)
    models: ClassVar[tuple[ReadyModel, ...]] = (
        ReadyModel(
            "words",
            "weighted words, one hidden layer",
            Vocabulary.kind,
            lambda sizes: _networks().words_mlp(sizes["n_words"], sizes["n_classes"]),
            HowTrained(20, 64, 0.3, 0.002),
        ),
        ReadyModel(
            "transformer",
            "a transformer of two layers",
            WordIds.kind,
            lambda sizes: _networks().SmallTransformer(sizes["n_tokens"], sizes["length"], sizes["n_classes"]),
            HowTrained(10, 32, 0.1, 0.001),
        ),
    )
    libraries: ClassVar[tuple[ModelLibrary, ...]] = (HuggingFace(),)

    def media(self, contents: Sequence[str]) -> list[tuple[Medium, ...]]:
        """Each text as it is."""
        return [(Text(text),) for text in contents]

    def contents(self, media: Sequence[tuple[Medium, ...]], encoding: Encoding) -> list[str]:
        """The texts."""
        texts = [text for one in media if (text := first_text(one)) is not None]
        if encoding.kind not in {each.kind for each in self.encodings} or len(texts) != len(media):
            raise InvalidDataError(
                f"{len(texts):,} of {len(media):,} examples have a text, and their encoding is {encoding.kind!r}; "
                f"texts have one each, and {' or '.join(each.kind for each in self.encodings)}"
            )
        return texts

    def words(
        self, train: Sequence[tuple[Medium, ...]], test: Sequence[tuple[Medium, ...]]
    ) -> tuple[list[list[str]], list[list[str]]]:
        """Words by Unicode's rules, and pieces learnt from the train texts where a script has no blanks."""
        return words_of_media(train, test)

    def new_inputs(self, encoding: Encoding) -> NewTexts:
        """A text that somebody types."""
        return NewTexts(encoding)

    def from_python(self, given: Any) -> list[str] | None:
        """One string, or a sequence of strings."""
        if isinstance(given, str):
            return [given]
        if not isinstance(given, Sequence) or not any(isinstance(each, str) for each in given):
            return None
        if not all(isinstance(each, str) for each in given):
            raise InvalidDataError("some inputs are texts and some are not; give texts only, or an array only.")
        return list(given)

    def keys(self, contents: Sequence[str]) -> Iterator[bytes]:
        """Texts are the same that differ in nothing but case, blanks, and the way in which Unicode composes letters."""
        for text in contents:
            folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
            yield hashlib.sha256(" ".join(folded.split()).encode("utf-8", "surrogatepass")).digest()

    def linear_rows(self, train: ArrayInputs, test: ArrayInputs) -> tuple[Any, Any]:
        """Texts as weights of their words whatever the order: as they are, or those of the ids."""
        rows, asked = flat_rows(train), flat_rows(test)
        if rows.dtype.kind in "iu":
            return weights_of_ids(rows, asked)
        from scipy.sparse import csr_matrix  # takes a moment to import, and only builds need it

        return csr_matrix(rows), csr_matrix(asked)

    def sizes(self, train: Sequence[str], test: Sequence[str]) -> str:
        """The lengths, and the usual one."""
        lengths = np.array([len(text) for text in (*train, *test)])
        return (
            f"Texts of {lengths.min():,} to {lengths.max():,} characters, half of them up to {np.median(lengths):,.0f}."
        )
