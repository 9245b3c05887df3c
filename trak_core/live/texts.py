"""A text that somebody typed: checked, cut where it is too long, and with the words that the model knows."""

import re
from dataclasses import dataclass

from trak_core.datasets import Pieces, Tokens, Vocabulary
from trak_core.datasets.vocabulary import WORD_PATTERN
from trak_core.errors import EmptyDataError, InvalidDataError

__all__ = ["MAX_CHARACTERS", "TypedText", "read_text"]

MAX_CHARACTERS = 20_000
N_EXAMPLES = 12
"""Known words that are told of."""


@dataclass(frozen=True)
class TypedText:
    """A text as the model sees it.

    Attributes:
        text: what is encoded.
        known: the known words in it, each once, in the order of the text; none where the model reads pieces of words.
        n_known: how many of its words are known, repeated ones counted each time.
        steps: what was done to the text, a sentence each.
    """

    text: str
    known: tuple[str, ...]
    n_known: int
    steps: tuple[str, ...]


def read_text(text: str, encoding: Vocabulary | Tokens | Pieces) -> TypedText:
    """The text as the model sees it.

    Args:
        text: anything; markup in it is text like any other.
        encoding: what turns it into the input of the model.

    Raises:
        EmptyDataError: the text is empty.
        InvalidDataError: none of its words is known.
    """
    if not text.strip():
        raise EmptyDataError("there is no text yet; type a sentence or two.")
    steps = []
    if len(text) > MAX_CHARACTERS:
        steps.append(f"Cut to its first {MAX_CHARACTERS:,} of {len(text):,} characters.")
        text = text[:MAX_CHARACTERS]
    found = re.findall(WORD_PATTERN, text.lower())
    if isinstance(encoding, Pieces):
        steps.append(f"The model reads the first {encoding.length:,} pieces of its words, in their order.")
        return TypedText(text, (), 0, tuple(steps))
    in_order = isinstance(encoding, Tokens)
    if isinstance(encoding, Tokens) and len(found) > encoding.length:
        steps.append(f"The model reads the first {encoding.length:,} of its {len(found):,} words.")
        found = found[: encoding.length]
    vocabulary = frozenset(encoding.words)
    known = [word for word in found if word in vocabulary]
    if not known:
        some = f"{len(found):,} words" if found else "no words"
        raise InvalidDataError(
            f"the model knows {len(vocabulary):,} words, and none of them is in this text ({some}); it would answer "
            f"the same to any such text{' of its length' if in_order else ''}. Type a text like those that it was "
            "trained on."
        )
    distinct = tuple(dict.fromkeys(known))
    more = f" and {len(distinct) - N_EXAMPLES} more" if len(distinct) > N_EXAMPLES else ""
    steps.append(
        f"The model knows {len(known):,} of {'these' if in_order else 'its'} {len(found):,} words, "
        f"{'in their order' if in_order else 'whatever their order'}: {', '.join(distinct[:N_EXAMPLES])}{more}."
    )
    return TypedText(text, distinct, len(known), tuple(steps))
