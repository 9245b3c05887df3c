"""Relevance by words: what a search engine would find for a question, and a control that counts words in common.

Relevance is not influence: a passage may speak of what is asked without having taught the model its answer (Akyürek et
al. 2022, arXiv 2205.11482; Park et al. 2023, arXiv 2303.14186, section 5). Both lists are worth seeing side by side.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.methods.context import MethodContext, Need
from trak_core.methods.method import MethodInfo, ScoreMatrix

K1, B = 1.5, 0.75
"""How soon a word that comes again tells no more, and how much long texts are held back; those of Lucene and bm25s."""
DIGITS = 4
"""Of scores: further ones are rounding, and texts with the same words should have the same score."""


@MethodInfo(
    "bm25",
    "BM25",
    "How relevant a search engine would find a training text to the test text, by the words in common.",
    is_baseline=True,
    needs=(Need.TEXTS, Need.BM25S),
)
def bm25(context: MethodContext) -> ScoreMatrix:
    """BM25 of each train text for the words of the test text, whatever the label."""
    return ScoreMatrix(torch.from_numpy(bm25_scores(*context.words())).to(context.train.device))


@MethodInfo(
    "lexical_overlap",
    "Words in common",
    "The share of the different words of the test text that a training text has, whatever the label.",
    is_baseline=True,
    is_control=True,
    needs=(Need.TEXTS,),
)
def lexical_overlap(context: MethodContext) -> ScoreMatrix:
    """The share of the distinct words of a test text that are in a train text; 0 for a test text without words."""
    return ScoreMatrix(torch.from_numpy(shares_in_common(*context.words())).to(context.train.device))


def bm25_scores(train: Sequence[Sequence[str]], test: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """BM25 `[n_test, n_train]` float32 of words of train texts for those of test texts; a repeated word counts again.

    Source: Robertson and Zaragoza 2009, "The probabilistic relevance framework: BM25 and beyond", as Lucene has it; Lù
    2024, arXiv 2407.03618, for the library.
    """
    from bm25s import BM25  # few need it, and those only now

    numbers = {word: number for number, word in enumerate(dict.fromkeys(word for words in train for word in words))}
    found = np.zeros((len(test), len(train)), dtype=np.float32)
    if not numbers:
        return found
    index = BM25(k1=K1, b=B, method="lucene")
    index.index(([[numbers[word] for word in words] for words in train], numbers), show_progress=False)
    for row, words in zip(found, test, strict=True):
        if known := [numbers[word] for word in words if word in numbers]:
            row[:] = index.get_scores(known)
    return np.round(found, DIGITS)


def shares_in_common(train: Sequence[Sequence[str]], test: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """Share `[n_test, n_train]` float32 of the distinct words of each test text that each train text has."""
    from scipy.sparse import csr_matrix  # here, because the explorer should not wait for scipy

    numbers = {word: number for number, word in enumerate(dict.fromkeys(word for words in test for word in words))}

    def sets(texts: Sequence[Sequence[str]]) -> csr_matrix:
        known = [sorted({numbers[word] for word in words if word in numbers}) for words in texts]
        starts = np.cumsum([0, *map(len, known)])
        columns = np.fromiter((number for each in known for number in each), dtype=np.int64)
        return csr_matrix((np.ones(len(columns), np.float32), columns, starts), (len(texts), max(1, len(numbers))))

    asked = sets(test)
    sizes = np.maximum(np.asarray(asked.sum(1)), 1)
    return np.asarray((asked @ sets(train).T).toarray() / sizes, dtype=np.float32)
