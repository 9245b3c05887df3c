"""Texts as tf-idf rows over a stored vocabulary, the same for stored and for new texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import EmptyDataError, ShapeMismatchError
from trak_core.modalities.encoding import Encoding, Word
from trak_core.modalities.text.words import LETTERS, UnicodeWords, Words, read_words

RARE_IDF = 4.0
"""Inverse document frequency, 1 + log(n / df), of a word in every twentieth text."""
N_WORDS = 2000
"""Words that a vocabulary has at most."""


class KnownWords(Encoding):
    """An encoding that knows some words, and nothing of all others."""

    has_unknowns = True

    words: tuple[str, ...]  # the known words, in the form by which they are known
    rule: Words  # by which texts have words

    def known_share(self, contents: Sequence[str]) -> NDArray[np.float64]:
        """Share of the words of each text that are known; 0 for a text without words."""
        known = frozenset(self.words)
        found = map(self.rule.of, contents)
        return np.array([sum(word in known for word in words) / len(words) if words else 0.0 for words in found])

    def words_in(self, text: str) -> list[Word]:
        """As in `Encoding`, by the rule of the words."""
        return self.rule.places(text)

    def rule_facts(self) -> dict[str, Any]:
        """The rule as metadata keep it; nothing for the one of all runs before there was another."""
        return {} if self.rule == LETTERS else {"rule": self.rule.metadata()}


def no_words(n_texts: int, source: str) -> EmptyDataError:
    """What to say where texts have not one word."""
    return EmptyDataError(
        f"{source}: none of the {n_texts:,} train texts has a word, a number or an emoji; choose another text column."
    )


@dataclass(frozen=True)
class Vocabulary(KnownWords):
    """Texts as weights of words, whatever their order."""

    kind = "vocabulary"
    size_names = ("n_words",)
    form = "texts come as weights of words, float32 [n, n_words]"

    words: tuple[str, ...]  # the words, in the form by which they are known, in the order of the columns
    idf: NDArray[np.float32]  # float32 `[n_words]`, the inverse document frequency of each word over the train texts
    rule: Words = LETTERS  # by which texts have words

    @classmethod
    def learn(cls, contents: Sequence[str], source: str) -> Vocabulary:
        """The most frequent words with their inverse document frequencies."""
        # Imported here: scikit-learn takes a second to import and only a build needs it.
        from sklearn.feature_extraction.text import TfidfVectorizer

        rule = UnicodeWords.learn(contents)
        vectorizer = TfidfVectorizer(max_features=N_WORDS, sublinear_tf=True, analyzer=rule.of)
        try:
            vectorizer.fit(contents)
        except ValueError as error:
            raise no_words(len(contents), source) from error
        return cls(tuple(vectorizer.get_feature_names_out()), vectorizer.idf_.astype(np.float32), rule)

    def inputs(self, contents: Sequence[str]) -> NDArray[np.float32]:
        """The tf-idf rows of texts: float32 `[n_texts, n_words]`, each of length 1.

        A word that occurs c > 0 times weighs (1 + log c) * idf, as in scikit-learn's `TfidfVectorizer` with
        `sublinear_tf`. The row of a text without any known word is zero.

        Raises:
            ShapeMismatchError: words and their frequencies differ in number.
        """
        if np.shape(self.idf) != (len(self.words),):
            raise ShapeMismatchError(
                f"the vocabulary has {len(self.words)} words, but idf has shape {np.shape(self.idf)}; give one idf for "
                "each word."
            )
        column = {word: number for number, word in enumerate(self.words)}
        rows = np.zeros((len(contents), len(self.words)))
        for row, text in zip(rows, contents, strict=True):
            for word, count in Counter(self.rule.of(text)).items():
                if word in column:
                    row[column[word]] = 1 + np.log(count)
        rows *= self.idf
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows /= np.where(lengths > 0, lengths, 1)
        return rows.astype(np.float32)

    def metadata(self) -> dict[str, Any]:
        """Words, their frequencies, and the rule by which texts have words."""
        return {"words": list(self.words), "idf": self.idf.tolist(), **self.rule_facts()}

    @classmethod
    def from_metadata(cls, kept: Mapping[str, Any]) -> Vocabulary:
        """As in `Encoding`."""
        return cls(tuple(kept["words"]), np.asarray(kept["idf"], dtype=np.float32), read_words(kept.get("rule")))

    def sizes(self) -> dict[str, int]:
        """The number of words."""
        return {"n_words": len(self.words)}

    def common_words(self) -> frozenset[str]:
        """Words of a low inverse document frequency."""
        return frozenset(word for word, idf in zip(self.words, self.idf, strict=True) if idf < RARE_IDF)

    def description(self) -> tuple[str, str]:
        """How many words are weighted, and which."""
        return "texts as the model takes them", f"weights of {len(self.words):,} words: {', '.join(self.words)}"
