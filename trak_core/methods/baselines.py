"""What attribution must beat: scores that know nothing of the model."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.methods.context import MethodContext, Need
from trak_core.methods.method import MethodInfo, ScoreMatrix
from trak_core.seeds import derive_seed

__all__ = ["RandomScores", "SameClass", "embedding_scores", "random_scores", "same_class_scores"]

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class RandomScores:
    """Independent standard normal numbers."""

    info = MethodInfo("random", "Random", "Random numbers: what no information at all looks like.", is_baseline=True)

    def fit(self, context: MethodContext) -> ScoreMatrix:
        """As in `Method`."""
        values = random_scores(len(context.test), len(context.train), context.seed)
        return ScoreMatrix(torch.from_numpy(values).to(context.train.device))


@dataclass(frozen=True)
class SameClass:
    """1 for the target class, else 0."""

    info = MethodInfo(
        "same_class", "Same class", "1 for every training example of the target class, else 0.", True, (Need.CLASSES,)
    )

    def fit(self, context: MethodContext) -> ScoreMatrix:
        """As in `Method`."""
        same = context.test.targets[:, None] == context.train.targets[None, :]
        return ScoreMatrix(same.float())


def random_scores(n_test: int, n_train: int, seed: int) -> Scores:
    """Independent standard normal numbers `[n_test, n_train]`."""
    generator = np.random.default_rng(derive_seed(seed, "random scores"))
    return np.asarray(generator.standard_normal((n_test, n_train)), dtype=np.float32)


def same_class_scores(targets: NDArray[np.int64], train_labels: NDArray[np.int64]) -> Scores:
    """1 where the train label is the target class, else 0: `[n_test, n_train]`."""
    return np.asarray(targets[:, None] == train_labels[None, :], dtype=np.float32)


def embedding_scores(test: NDArray[np.float32], train: NDArray[np.float32]) -> Scores:
    """Cosine similarity `[n_test, n_train]` of representations `[n_test, d]` and `[n_train, d]`."""

    def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny))

    return np.asarray(unit(test) @ unit(train).T, dtype=np.float32)
