"""Texts as the numbers of their words, in order, the same for stored and for new texts."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.vocabulary import WORD_PATTERN

__all__ = ["Tokens", "learn_tokens"]

PADDING, UNKNOWN = 0, 1
N_RESERVED = 2


@dataclass(frozen=True)
class Tokens:
    """What turns a text into the inputs of a model that reads words in their order.

    Attributes:
        words: the known words, lower case; the first has the number 2. 0 fills short texts up, 1 stands for any other.
        length: how many words of a text are read.
    """

    words: tuple[str, ...]
    length: int

    @property
    def n_tokens(self) -> int:
        """Numbers that inputs can have."""
        return len(self.words) + N_RESERVED

    def inputs(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The numbers of the first words of each text: int64 `[n, length]`."""
        number = {word: place for place, word in enumerate(self.words, start=N_RESERVED)}
        rows = np.full((len(texts), self.length), PADDING, dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            found = [number.get(word, UNKNOWN) for word in _words(text)[: self.length]]
            row[: len(found)] = found
        return rows


def learn_tokens(texts: Sequence[str], n_words: int, longest: int) -> Tokens:
    """The most frequent words of some texts, ties by alphabet; the length holds 95% of the texts whole.

    Args:
        texts: of the train examples.
        n_words: how many words to know at most.
        longest: how many words of a text to read at most.
    """
    counts: Counter[str] = Counter()
    lengths = []
    for text in texts:
        words = _words(text)
        counts.update(words)
        lengths.append(len(words))
    kept = sorted(counts, key=lambda word: (-counts[word], word))[:n_words]
    length = int(np.clip(np.percentile(lengths, 95, method="higher"), 1, longest))
    return Tokens(tuple(kept), length)


def _words(text: str) -> list[str]:
    return re.findall(WORD_PATTERN, text.lower())
