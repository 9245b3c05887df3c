"""A text that somebody typed: checked, cut where it is too long, and with the words that the model knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.media import Text
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.new_input import Field, NewInput, NewInputReader, Type
from trak_core.modalities.text.subword_tokens import SubwordTokens
from trak_core.modalities.text.vocabulary import KnownWords
from trak_core.modalities.text.word_ids import WordIds

FIELD = "text"
"""Name of the field that asks for a text."""
MAX_CHARACTERS = 20_000
N_EXAMPLES = 12
"""Known words that are told of."""


class NewTexts(NewInputReader):
    """Texts that somebody types."""

    fields = (Field(FIELD, (Type("Type a text", max_characters=MAX_CHARACTERS),)),)
    invitation = "Type a text"

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding

    def read(self, given: Mapping[str, Any]) -> NewInput:
        """As in `NewInputReader`."""
        text, encoding = str(given[FIELD]), self.encoding
        if not text.strip():
            raise EmptyDataError("there is no text yet; type a sentence or two.")
        steps = []
        if len(text) > MAX_CHARACTERS:
            steps.append(f"Cut to its first {MAX_CHARACTERS:,} of {len(text):,} characters.")
            text = text[:MAX_CHARACTERS]
        if isinstance(encoding, SubwordTokens):
            steps.append(f"The model reads the first {encoding.length:,} subword tokens, in their order.")
        if not isinstance(encoding, KnownWords):
            return NewInput([text], (Text(text),), tuple(steps))
        found = encoding.rule.of(text)
        in_order = isinstance(encoding, WordIds)
        if isinstance(encoding, WordIds) and len(found) > encoding.length:
            steps.append(f"The model reads the first {encoding.length:,} of its {len(found):,} words.")
            found = found[: encoding.length]
        vocabulary = frozenset(encoding.words)
        known = [word for word in found if word in vocabulary]
        if not known:
            some = f"{len(found):,} words" if found else "no words"
            raise InvalidDataError(
                f"the model knows {len(vocabulary):,} words, and none of them is in this text ({some}); it would "
                f"answer the same to any such text{' of its length' if in_order else ''}. Type a text like those that "
                "it was trained on."
            )
        distinct = tuple(dict.fromkeys(known))
        more = f" and {len(distinct) - N_EXAMPLES} more" if len(distinct) > N_EXAMPLES else ""
        steps.append(
            f"The model knows {len(known):,} of {'these' if in_order else 'its'} {len(found):,} words, "
            f"{'in their order' if in_order else 'whatever their order'}: {', '.join(distinct[:N_EXAMPLES])}{more}."
        )
        return NewInput([text], (Text(text),), tuple(steps))
