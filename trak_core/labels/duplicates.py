"""Examples that are there twice: within the training set, and once on either side of the split.

Two inputs are copies where they are equal byte by byte. They are nearly the same where the distance between them is
below a quarter of what is usual between an example and its nearest neighbour: the median over the training set without
copies. Distances are those of directions from the mean input, so that a picture that is merely paler counts as the
same, and so do tf-idf rows whatever the length of the text. In spaces of many dimensions distances between separate
examples hardly spread, so that a quarter of the usual one means a common origin. That scale is cleanlab's idea (Datalab
takes .13 of the median); the factor is fixed and chosen on no data that is looked at.

The rule assumes that most examples have no near-duplicate: where most have one, these are what is usual, and only
copies are found. It sees what the model sees: texts that differ only in words outside the vocabulary are copies.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.labels.nearest import nearest, unit_rows

CLOSE = 0.25
"""Of the usual distance to the nearest neighbour: what is closer is nearly the same."""


@dataclass(frozen=True)
class NearDuplicates:
    """Train examples that have a near-duplicate, by number."""

    train_idx: NDArray[np.int64]  # int64 `[n]`, rising
    other_idx: NDArray[np.int64]  # the nearest one, of the lowest number among copies: int64 `[n]`
    similarity: NDArray[np.float64]  # 1 for a copy, 1 - 0.25 at the most distant that counts: float64 `[n]`


def find_near_duplicates(train: NDArray[Any], test: NDArray[Any]) -> tuple[NearDuplicates, NearDuplicates]:
    """Train examples with a near-duplicate in the training set, and those with one in the test set.

    It costs `n_train * (n_train + n_test) * d` products, and memory for both sets once more.
    """
    centre = train.reshape(len(train), -1).mean(axis=0, dtype=np.float64)
    rows, tests = unit_rows(train, centre), unit_rows(test, centre)
    in_train, in_test = _copies(train, train, within=True), _copies(train, test)
    neighbour, cosine = nearest(rows)
    single = in_train < 0
    usual = 0.0
    if neighbour.shape[1] and single.any():
        usual = float(np.median(_distances(cosine[single, 0])))
    return (
        _near_duplicates(rows, rows, in_train, neighbour, cosine, usual),
        _near_duplicates(rows, tests, in_test, *nearest(rows, tests), usual),
    )


def _copies(inputs: NDArray[Any], among: NDArray[Any], within: bool = False) -> NDArray[np.int64]:
    """For each input the lowest number of another one with the same bytes, -1 where there is none."""
    first: dict[bytes, list[int]] = {}
    for idx, other in enumerate(among):
        first.setdefault(_digest(other), []).append(idx)
    found = np.full(len(inputs), -1)
    for idx, example in enumerate(inputs):
        known = first.get(_digest(example), [])[:2]
        found[idx] = next((other for other in known if not within or other != idx), -1)
    return found


def _digest(example: NDArray[Any]) -> bytes:
    return blake2b(np.ascontiguousarray(example).tobytes(), digest_size=16).digest()


def _distances(cosines: NDArray[Any]) -> NDArray[np.float64]:
    """Between directions, 0 to 2: float64, as the cosines."""
    return np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0))


def _near_duplicates(
    rows: NDArray[np.float32],
    others: NDArray[np.float32],
    copies: NDArray[np.int64],
    neighbour: NDArray[np.int64],
    cosine: NDArray[np.float32],
    usual: float,
) -> NearDuplicates:
    """From the copies and the nearest neighbour of each example `[n, 1]`, `[n, 0]` where there are no others."""
    other, distance = copies.copy(), np.where(copies >= 0, 0.0, np.inf)
    if neighbour.shape[1] and usual > 0:
        # Twice as far as counts, then exactly: the last digits of float32 products are no digits of a small distance.
        near = np.flatnonzero((copies < 0) & (_distances(cosine[:, 0]) < 2 * CLOSE * usual))
        other[near] = neighbour[near, 0]
        distance[near] = np.linalg.norm(rows[near].astype(np.float64) - others[other[near]], axis=1)
    found = np.flatnonzero(distance < CLOSE * usual if usual > 0 else copies >= 0)
    return NearDuplicates(found, other[found], 1 - distance[found] / (usual or 1.0))
