"""Texts as tf-idf rows over a stored vocabulary, the same for stored and for new texts."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import ShapeMismatchError

__all__ = ["WORD_PATTERN", "Vocabulary", "encode_texts"]

# Two letters or more. Digits and underscores part words, so that `n_components` counts as "components".
WORD_PATTERN = r"[^\W\d_]{2,}"


@dataclass(frozen=True)
class Vocabulary:
    """What turns a text into the inputs of a model.

    Attributes:
        words: the words, lower case, in the order of the columns.
        idf: float32 `[n_words]`, the inverse document frequency of each word over the train texts.
    """

    words: tuple[str, ...]
    idf: NDArray[np.float32]

    def inputs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The tf-idf rows of texts: float32 `[n_texts, n_words]`; see `encode_texts`."""
        return encode_texts(texts, self.words, self.idf)


def encode_texts(texts: Sequence[str], words: Sequence[str], idf: NDArray[Any]) -> NDArray[np.float32]:
    """The tf-idf rows of texts: float32 `[n_texts, n_words]`, each of length 1.

    A word that occurs c > 0 times weighs (1 + log c) * idf, as in scikit-learn's `TfidfVectorizer` with
    `sublinear_tf`. The row of a text without any known word is zero.

    Args:
        texts: any texts; their case does not matter.
        words: the known words, lower case.
        idf: `[n_words]`, the inverse document frequency of each.

    Raises:
        ShapeMismatchError: `words` and `idf` differ in length.
    """
    if np.shape(idf) != (len(words),):
        raise ShapeMismatchError(
            f"the vocabulary has {len(words)} words, but idf has shape {np.shape(idf)}; give one idf for each word."
        )
    column = {word: number for number, word in enumerate(words)}
    rows = np.zeros((len(texts), len(words)))
    for row, text in zip(rows, texts, strict=True):
        for word, count in Counter(re.findall(WORD_PATTERN, text.lower())).items():
            if word in column:
                row[column[word]] = 1 + np.log(count)
    rows *= idf
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1)
    return rows.astype(np.float32)
