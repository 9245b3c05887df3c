"""Examples that stand alone: outliers, classes with hardly any examples, and small groups apart from their class.

All by the cosine between embeddings (what a model sees before its last layer), as live inputs are judged unlike.

**Outliers.** The distance of an example is the mean of one minus the cosine over its ten nearest others (ten as in
cleanlab's Datalab). Beyond Tukey's fence, 1.5 quartile ranges above the upper quartile, on a logarithmic scale because
such distances are skewed, it is an outlier (Tukey 1977); at most 2 in 100 examples, the farthest.

**Under-represented.** A class with a tenth of its equal share of the examples, or less, or a single one (the tenth is
Datalab's for class imbalance). And a group within a class that is cut off from the rest: a component of the graph that
joins two examples where each is among the ten nearest of the other (Brito et al. 1997), at least five and at most a
quarter of the largest component of the class. Fewer than five come apart by chance.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from trak_core.labels.nearest import nearest, unit_rows

N_NEIGHBOURS = 10
FENCE = 1.5
MOST_OUTLIERS = 0.02
FEWEST_TO_JUDGE = 2 * N_NEIGHBOURS
"""With fewer examples there is no usual distance."""
RARE_CLASS = 0.1
SMALLEST_GROUP = 5
LARGEST_GROUP = 0.25

Found = tuple[NDArray[np.int64], NDArray[np.float64]]


def outliers(embeddings: NDArray[Any]) -> Found:
    """Train examples unlike every other, by number, and how far beyond the fence: int64 and float64 `[n_found]`.

    A distance of 1 is the fence. There are none among fewer than 20 examples.
    """
    nothing = np.empty(0, dtype=np.int64), np.empty(0)
    if len(embeddings) < FEWEST_TO_JUDGE:
        return nothing
    _, cosines = nearest(unit_rows(embeddings), k=N_NEIGHBOURS)
    distances = 1 - cosines.astype(np.float64).mean(axis=1)
    spread = distances[distances > 1e-6]  # copies say nothing of how far apart examples are
    if len(spread) < FEWEST_TO_JUDGE:
        return nothing
    lower, upper = np.quantile(np.log(spread), [0.25, 0.75])
    beyond = distances / np.exp(upper + FENCE * (upper - lower))
    most = max(1, int(MOST_OUTLIERS * len(embeddings)))
    farthest = np.argsort(-beyond, kind="stable")[:most]
    found = np.sort(farthest[beyond[farthest] > 1])
    return found, beyond[found]


def under_represented(
    embeddings: NDArray[Any], labels: NDArray[np.int64], apart: NDArray[np.int64] | None = None
) -> Found:
    """Train examples of rare classes and small groups, by number, and their rarity: int64 and float64 `[n_found]`.

    Rarity is 1 minus the size of the class or group over the equal share of a class, 0 where it is larger.
    Examples `apart` belong to no group, as near-duplicates, which hang together by themselves.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    share = len(labels) / max(len(classes), 1)
    rarity = np.zeros(len(labels))
    is_found = np.zeros(len(labels), dtype=bool)
    in_groups = np.ones(len(labels), dtype=bool)
    in_groups[[] if apart is None else apart] = False
    for label, size in zip(classes, sizes, strict=True):
        if size < share and size <= max(1.0, RARE_CLASS * share):
            rare = [np.flatnonzero(labels == label)]
        else:
            rare = _small_groups(embeddings, np.flatnonzero((labels == label) & in_groups))
        for group in rare:
            rarity[group] = max(0.0, 1 - len(group) / share)
            is_found[group] = True
    found = np.flatnonzero(is_found)
    return found, rarity[found]


def _small_groups(embeddings: NDArray[Any], members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Groups of one class that are cut off from the rest of it, each as numbers of train examples."""
    if len(members) < FEWEST_TO_JUDGE:
        return []
    neighbours, _ = nearest(unit_rows(embeddings[members]), k=N_NEIGHBOURS)
    from_, to = np.repeat(np.arange(len(members)), neighbours.shape[1]), neighbours.ravel()
    links = coo_matrix((np.ones(len(to)), (from_, to)), shape=(len(members),) * 2).tocsr()
    _, group = connected_components(links.multiply(links.T), directed=False)
    sizes = np.bincount(group)
    small = np.flatnonzero((sizes >= SMALLEST_GROUP) & (sizes <= LARGEST_GROUP * sizes.max()))
    return [members[group == number] for number in small]
