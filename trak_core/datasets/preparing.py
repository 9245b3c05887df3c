"""From data as they were read to a data set that a model takes."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.dataset import Dataset, Split
from trak_core.datasets.pieces import Pieces, Tokenizer
from trak_core.datasets.pixels import measure_pixels, thumbnail
from trak_core.datasets.raw import RawData, RawImages, RawTexts
from trak_core.datasets.tokens import Tokens, learn_tokens
from trak_core.datasets.vocabulary import WORD_PATTERN, Vocabulary
from trak_core.errors import EmptyDataError

__all__ = ["Encoding", "prepare"]

Encoding = Literal["pixels", "words", "tokens"]
"""What a model takes: standardised pixels, weights of words, or the numbers of words in their order."""
N_WORDS = 2000
N_TOKENS = 10_000
LONGEST = 64


def prepare(raw: RawData, encoding: Encoding | Tokenizer) -> Dataset:
    """The data set that a model takes; what is measured for it is measured on the train examples alone.

    Args:
        raw: as it was read.
        encoding: "pixels" for images; "words", "tokens" or the tokenizer of a pretrained model for texts.

    Raises:
        EmptyDataError: no train text has a word.
    """
    if isinstance(raw.train, RawImages):
        assert isinstance(raw.test, RawImages) and encoding == "pixels"
        return _images(raw, raw.train, raw.test)
    assert isinstance(raw.test, RawTexts) and encoding != "pixels"
    return _texts(raw, raw.train, raw.test, encoding)


def _images(raw: RawData, train: RawImages, test: RawImages) -> Dataset:
    pixels = measure_pixels(train.pixels)

    def split(part: RawImages) -> Split:
        return Split(pixels.inputs(part.pixels), part.labels, [thumbnail(image) for image in part.pixels])

    return Dataset(raw.name, "image", raw.class_names, split(train), split(test), pixels)


def _texts(raw: RawData, train: RawTexts, test: RawTexts, encoding: Encoding | Tokenizer) -> Dataset:
    learnt: Vocabulary | Tokens | Pieces
    if isinstance(encoding, Tokenizer):
        learnt = encoding.measured(train.texts)
    else:
        learnt = learn_tokens(train.texts, N_TOKENS, LONGEST) if encoding == "tokens" else _learn_words(train.texts)
    if not isinstance(learnt, Pieces) and not learnt.words:
        raise EmptyDataError(
            f"{raw.name}: none of the {len(train):,} train texts has a word of two letters or more; choose another "
            "text column."
        )
    encode: Callable[[list[str]], NDArray[np.float32] | NDArray[np.int64]] = learnt.inputs

    def split(part: RawTexts) -> Split:
        return Split(encode(part.texts), part.labels, texts=part.texts)

    return Dataset(raw.name, "text", raw.class_names, split(train), split(test), learnt)


def _learn_words(texts: list[str]) -> Vocabulary:
    """The most frequent words with their inverse document frequencies."""
    # Imported here: scikit-learn takes a second to import and only a build needs it.
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(max_features=N_WORDS, sublinear_tf=True, token_pattern=WORD_PATTERN)
    try:
        vectorizer.fit(texts)
    except ValueError:  # not one word
        return Vocabulary((), np.zeros(0, dtype=np.float32))
    return Vocabulary(tuple(vectorizer.get_feature_names_out()), vectorizer.idf_.astype(np.float32))
