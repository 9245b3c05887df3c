"""Which examples teach the model alike: nearest neighbours among the stored features.

The features of the first checkpoint stand for all. Rows are brought to length 1, so that an inner product is a cosine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.run import Run

DUPLICATE_COSINE = 0.99
"""Train examples this alike teach the model the same: near-duplicates."""


@dataclass(frozen=True)
class FeatureSpace:
    """Directions of the features of all examples."""

    train: NDArray[np.float32]  # float32 `[n_train, proj_dim]`, rows of length 1, or 0 where a gradient vanishes
    test: NDArray[np.float32]  # likewise `[n_test, proj_dim]`


@dataclass(frozen=True)
class Neighbour:
    """A train example near another example."""

    train_idx: int  # its number
    cosine: float  # of the angle between the features, -1 to 1

    @property
    def is_duplicate(self) -> bool:
        """True for what is, to the model, the same example again."""
        return self.cosine >= DUPLICATE_COSINE


def feature_space(run: Run) -> FeatureSpace:
    """The features of the run's first checkpoint as directions; it takes `4 n proj_dim` bytes, so keep it."""
    return FeatureSpace(_directions(run, "train"), _directions(run, "test"))


def _directions(run: Run, split: str) -> NDArray[np.float32]:
    rows = from_arrow_arrays(
        run.arrow("SELECT phi FROM features WHERE checkpoint_id = 0 AND split = ? ORDER BY idx", [split]), "phi"
    )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def nearest_train(space: FeatureSpace, train_idx: int, k: int = 12) -> list[Neighbour]:
    """The `k` train examples nearest to another one, nearest first, without itself; none where there are no features.

    The number of the train example must be valid.
    """
    if not len(space.train):
        return []
    cosines = space.train @ space.train[train_idx]
    cosines[train_idx] = -np.inf
    k = min(k, len(cosines) - 1)
    nearest = np.argpartition(-cosines, k - 1)[:k] if k > 0 else np.arange(0)
    order = nearest[np.lexsort((nearest, -cosines[nearest]))]
    return [Neighbour(int(i), float(np.clip(cosines[i], -1, 1))) for i in order]
