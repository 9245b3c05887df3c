"""Texts as the ids of their words, in order, the same for stored and for new texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError
from trak_core.inputs import ArrayInputs, flat_rows, leaves
from trak_core.modalities.text.vocabulary import KnownWords, no_words
from trak_core.modalities.text.words import LETTERS, UnicodeWords, Words, read_words

PADDING, UNKNOWN = 0, 1
N_RESERVED = 2
N_WORDS = 10_000
"""Words that are known at most."""
LONGEST = 64
"""Words of a text that are read at most."""


@dataclass(frozen=True)
class WordIds(KnownWords):
    """Texts as ids of words, for a model that reads them in their order."""

    kind = "word_ids"
    size_names = ("n_tokens", "length")
    form = "texts come as ids of words in their order, int64 [n, length], 0 is padding"

    # the known words, in the form by which they are known; the first has the id 2. 0 fills short texts up, 1 stands for
    # any other
    words: tuple[str, ...]
    length: int  # how many words of a text are read
    rule: Words = LETTERS  # by which texts have words

    @classmethod
    def learn(cls, contents: Sequence[str], source: str) -> WordIds:
        """The most frequent words, ties by alphabet; the length holds 95% of the texts whole."""
        rule = UnicodeWords.learn(contents)
        counts: Counter[str] = Counter()
        lengths = []
        for text in contents:
            words = rule.of(text)
            counts.update(words)
            lengths.append(len(words))
        if not counts:
            raise no_words(len(contents), source)
        kept = sorted(counts, key=lambda word: (-counts[word], word))[:N_WORDS]
        length = int(np.clip(np.percentile(lengths, 95, method="higher"), 1, LONGEST))
        return cls(tuple(kept), length, rule)

    def metadata(self) -> dict[str, Any]:
        """Words, length, and the rule by which texts have words."""
        return {"words": list(self.words), "length": self.length, **self.rule_facts()}

    @classmethod
    def from_metadata(cls, kept: Mapping[str, Any]) -> WordIds:
        """As in `Encoding`."""
        return cls(tuple(kept["words"]), kept["length"], read_words(kept.get("rule")))

    @property
    def n_tokens(self) -> int:
        """Ids that inputs can have."""
        return len(self.words) + N_RESERVED

    def description(self) -> tuple[str, str]:
        """How much of a text is read, and how much of that is known."""
        said = f"the first {self.length:,} words in their order, of which it knows {len(self.words):,}"
        return "texts as the model takes them", said

    def check(self, inputs: ArrayInputs) -> None:
        """Refuses ids beyond the last word."""
        for array in leaves(inputs):
            if array.min() < 0 or array.max() >= self.n_tokens:
                raise InvalidDataError(
                    f"inputs run from {array.min()} to {array.max()}, and this run takes ids of words, whole numbers "
                    f"from 0 to {self.n_tokens - 1:,}; give those, or texts."
                )

    def empty(self, inputs: ArrayInputs) -> NDArray[np.bool_]:
        """Texts of which no word is known: how many words there are is all that is left of them."""
        return np.asarray((flat_rows(inputs) <= UNKNOWN).all(axis=1))

    def inputs(self, contents: Sequence[str]) -> NDArray[np.int64]:
        """The ids of the first words of each text: int64 `[n, length]`."""
        number = {word: place for place, word in enumerate(self.words, start=N_RESERVED)}
        rows = np.full((len(contents), self.length), PADDING, dtype=np.int64)
        for row, text in zip(rows, contents, strict=True):
            found = [number.get(word, UNKNOWN) for word in self.rule.of(text)[: self.length]]
            row[: len(found)] = found
        return rows


def weights_of_ids(train: NDArray[np.int64], test: NDArray[np.int64]) -> tuple[Any, Any]:
    """Ids `[n, length]` as tf-idf rows, sparse `[n, n_ids]`, whatever their order; padding counts for nothing."""
    from scipy.sparse import csr_matrix  # both take a moment to import, and only builds need them
    from sklearn.feature_extraction.text import TfidfTransformer

    def counted(ids: NDArray[np.int64]) -> Any:
        rows, known = np.repeat(np.arange(len(ids)), ids.shape[1]), ids.ravel()
        shown = known > PADDING
        ones = np.ones(int(shown.sum()), dtype=np.float32)
        return csr_matrix((ones, (rows[shown], known[shown])), shape=(len(ids), width))

    width = int(max(train.max(), test.max(), PADDING)) + 1
    weights = TfidfTransformer(sublinear_tf=True).fit(counted(train))
    return weights.transform(counted(train)), weights.transform(counted(test))
