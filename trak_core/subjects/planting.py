"""Labels made wrong on purpose, so that finding wrong labels can be measured where the truth is known.

Which examples get a wrong label is drawn uniformly, whatever the kind; the kind says which wrong label they get. Under
one seed both kinds take the same examples, and a larger share takes those of a smaller one and further ones.

`uniform`     any other class that occurs, each with the same chance. Such mistakes are easy to find.
`confusable`  a class that looks alike, as with mistakes of people. The chance that an example of class a gets class b
              is the share of b among the examples of a that a plain classifier takes for another class. The
              classifier is linear discriminant analysis of the flattened inputs with their true labels: the class
              with the nearest mean, the example itself left out of the mean of its class, where distances are
              measured by the spread within classes plus a tenth of its average in every direction. Inputs of more
              than 1,024 numbers are projected to so many first. A class that is never taken for another one gets
              the class with the nearest mean, the lower number where two are equally near.
              Source: Hastie, Tibshirani & Friedman 2009, section 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.inputs import flat_rows
from trak_core.seeds import derive_seed

if TYPE_CHECKING:
    from trak_core.modalities import Dataset

KINDS = ("uniform", "confusable")
MAX_SHARE = 0.5
MAX_WIDTH = 1024
"""Features of an example that the classifier looks at."""
SHRINKAGE = 0.1
"""Plain distances (a large value) call a tenth of the clothes of Fashion-MNIST sandals; .01 to 1 differ little."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PlantedErrors:
    """Train examples whose label was made wrong, and what it was."""

    train_idx: NDArray[np.int64]  # int64 `[n_wrong]`, rising
    true_label: NDArray[np.int64]  # int64 `[n_wrong]`


def check_planting(share: float, kind: str, share_name: str = "share", kind_name: str = "kind") -> None:
    """InvalidSettingError where the share is not from 0 to 0.5, or there is no such kind; names are for messages."""
    if not 0 <= share <= MAX_SHARE:  # NaN as well
        raise InvalidSettingError(
            f"{share_name}={share}; it must be from 0 to {MAX_SHARE}, as 0.1 for a wrong label in ten."
        )
    if kind not in KINDS:
        raise InvalidSettingError(f"{kind_name}={kind!r}; it must be {' or '.join(KINDS)}.")


def plant_errors(
    inputs: NDArray[Any], labels: NDArray[np.int64], n_classes: int, share: float, kind: str, seed: int
) -> NDArray[np.int64]:
    """Labels of which exactly `round(share * n)` are wrong: int64 `[n]`; equal to `labels` where that is 0.

    The module tells by which rule. Only classes that occur among the labels are given. Inputs are float32 `[n, ...]`,
    the true labels int64 `[n]` from 0 to `n_classes - 1`; they are not changed.

    Raises:
        InvalidSettingError: the share is not from 0 to 0.5, there is no such kind, or fewer than two classes occur.
    """
    check_planting(share, kind)
    planted = np.array(labels, dtype=np.int64)
    n_wrong = round(share * len(planted))
    if n_wrong == 0:
        return planted
    counts = np.bincount(planted, minlength=n_classes)
    if np.count_nonzero(counts) < 2:
        raise InvalidSettingError(
            f"share={share} cannot be made wrong: all {len(planted):,} labels are of class {planted[0]}, and there is "
            "no other one to give. Plant no errors, or take data of at least two classes."
        )
    chances = _uniform_chances(counts) if kind == "uniform" else _confusable_chances(inputs, planted, counts)
    generator = np.random.default_rng(derive_seed(seed, "planted errors"))
    # One draw for every example, wrong or not: what an example gets does not depend on the share.
    chosen, draws = generator.permutation(len(planted))[:n_wrong], generator.random(len(planted))
    up_to = chances.cumsum(axis=1)
    up_to /= np.maximum(up_to[:, -1:], np.finfo(float).tiny)  # ends at 1 exactly, so that no draw falls beyond
    planted[chosen] = (up_to[planted[chosen]] <= draws[chosen, None]).sum(axis=1)
    return planted


def plant_in(dataset: Dataset, share: float, kind: str, seed: int) -> tuple[Dataset, PlantedErrors]:
    """The data set with errors among its train labels, and which these are; test labels stay as they are.

    The rest, errors included, is that of `plant_errors`; labels that are no classes cannot be made wrong either.
    """
    train = dataset.train
    if not dataset.class_names:
        check_planting(share, kind)
        if share:
            raise InvalidSettingError(
                f"share={share} of the labels cannot be made wrong: those of {dataset.name!r} are numbers, and errors "
                "are planted among classes only. Plant no errors."
            )
        nothing = np.array([], dtype=np.int64)
        return dataset, PlantedErrors(nothing, nothing)
    labels = plant_errors(flat_rows(train.inputs), train.labels, len(dataset.class_names), share, kind, seed)
    wrong = np.flatnonzero(labels != train.labels)
    planted = PlantedErrors(wrong, train.labels[wrong].astype(np.int64))
    return (replace(dataset, train=replace(train, labels=labels)) if len(wrong) else dataset), planted


def _uniform_chances(counts: NDArray[np.int64]) -> Floats:
    """Relative chances `[n_classes, n_classes]` that an example of a class (row) gets another (column)."""
    chances = np.tile((counts > 0).astype(np.float64), (len(counts), 1))
    np.fill_diagonal(chances, 0.0)
    return chances


def _confusable_chances(inputs: NDArray[Any], labels: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    """The same by how often one class is taken for another, the example itself left out of its mean."""
    present = counts > 0
    rows = _by_spread(_narrow(np.asarray(inputs).reshape(len(labels), -1)), labels)
    means = np.zeros((len(counts), rows.shape[1]))
    for label in np.flatnonzero(present):
        means[label] = rows[labels == label].mean(axis=0)
    distances = _squared_distances(rows, means, present)
    # ||x - mean without x|| = n / (n - 1) ||x - mean||. A class of one example has no mean without it.
    stretch = np.full(len(counts), np.inf)
    np.divide(counts, counts - 1, out=stretch, where=counts > 1)
    own = (np.arange(len(labels)), labels)
    distances[own] = np.where(counts[labels] > 1, distances[own], 1) * stretch[labels] ** 2
    confused = np.zeros((len(counts), len(counts)))
    np.add.at(confused, (labels, distances.argmin(axis=1)), 1)
    np.fill_diagonal(confused, 0.0)
    between = _squared_distances(means, means, present)
    np.fill_diagonal(between, np.inf)
    never = confused.sum(axis=1) == 0
    confused[never, between.argmin(axis=1)[never]] = 1.0
    return confused


def _narrow(rows: NDArray[Any]) -> Floats:
    """The rows with at most 1,024 features: wider ones by a random projection, which keeps distances roughly."""
    if rows.shape[1] <= MAX_WIDTH:
        return rows.astype(np.float64)
    generator = np.random.default_rng(derive_seed(0, "planted errors", "projection"))
    mixing = generator.standard_normal((rows.shape[1], MAX_WIDTH), dtype=np.float32)
    return np.asarray(rows @ mixing, dtype=np.float64)


def _by_spread(rows: Floats, labels: NDArray[np.int64]) -> Floats:
    """The rows in coordinates in which classes spread alike in all directions: `[n, d]`."""
    within = rows.copy()
    for label in np.unique(labels):
        within[labels == label] -= rows[labels == label].mean(axis=0)
    spread = within.T @ within / len(rows)
    spread /= spread.trace() / len(spread) or 1.0  # 0 where all examples of a class are the same
    spread += SHRINKAGE * np.eye(len(spread))
    return np.linalg.solve(np.linalg.cholesky(spread), rows.T).T


def _squared_distances(rows: Floats, means: Floats, present: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Float32 `[n_rows, n_classes]`, infinite for classes that do not occur.

    Rounded, because the last digits depend on the number of threads, and the labels of a run must not where two
    classes are equally near.
    """
    distances = np.full((len(rows), len(means)), np.inf, dtype=np.float32)
    for label in np.flatnonzero(present):
        distances[:, label] = np.square(rows - means[label]).sum(axis=1)
    return distances
