"""Whole documents: what the training texts that came from one do together to a test example."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.store.run import Run

FEWEST_EXAMPLES = 2
"""Of a document on average; where there are fewer, origins are rows or files of single examples."""


@dataclass(frozen=True)
class DocumentInfluence:
    """What one document does to a test example."""

    name: str  # where its examples came from
    train_idx: NDArray[np.int64]  # its train examples, rising
    score: float  # sum of their scores
    n_for: int  # of them, those with a score above 0


def documents_of(run: Run) -> dict[str, NDArray[np.int64]]:
    """The train examples of each document that they came from; empty where the run knows none that hold several."""
    origins = [origin for origin in run.origins("train") if origin is not None]
    members: dict[str, list[int]] = {}
    for train_idx, origin in enumerate(origins):
        members.setdefault(origin, []).append(train_idx)
    if len(origins) < run.info.n_train or not 2 <= len(members) <= len(origins) / FEWEST_EXAMPLES:
        return {}
    return {name: np.array(members[name], dtype=np.int64) for name in sorted(members)}


def document_influence(
    documents: Mapping[str, NDArray[np.int64]], scores: NDArray[np.floating]
) -> list[DocumentInfluence]:
    """What each document does, by scores `[n_train]` of one test example; the strongest proponent first."""
    found = []
    for name, members in documents.items():
        of_them = scores[members]
        found.append(DocumentInfluence(name, members, float(of_them.sum(dtype=np.float64)), int((of_them > 0).sum())))
    return sorted(found, key=lambda one: -one.score)


def document_table(found: list[DocumentInfluence]) -> pd.DataFrame:
    """The documents, a row each."""
    rows = [(one.name, one.score, len(one.train_idx), one.n_for) for one in found]
    return pd.DataFrame(rows, columns=["document", "sum of scores", "training examples", "of them for it"])
