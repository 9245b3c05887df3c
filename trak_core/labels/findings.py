"""What else is odd about training examples, besides labels that look wrong.

`near_duplicate`     another train example is the same or nearly so; see `duplicates`
`leak`               a test example is, so that testing on it measures memory
`outlier`            unlike every other train example; see `rarity`
`ambiguous`          models that did not see it waver between its label and others; see `ambiguous`
`under_represented`  of a class, or a group within a class, with far fewer examples than others; see `rarity`

Every rule is fixed and looks at no truth. Findings are hints for whoever reviews labels, no verdicts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from trak_core.errors import InvalidSettingError
from trak_core.labels.duplicates import NearDuplicates, find_near_duplicates
from trak_core.labels.rarity import Found, outliers, under_represented

FindingKind = Literal["near_duplicate", "leak", "outlier", "ambiguous", "under_represented"]
FINDING_KINDS: tuple[FindingKind, ...] = get_args(FindingKind)
IN_THE_RUNNING = 0.5
SMALLEST_PROBABILITY = 1e-12
WIDEST = 4.0
"""Of the natural logarithm of the temperature, either way."""


@dataclass(frozen=True)
class Finding:
    """One thing that is odd about a train example."""

    kind: FindingKind  # what is odd
    train_idx: int  # of the train example
    score: float  # higher for what is odder; its unit differs by kind
    other_split: str | None = None  # "train" or "test", where the other example of a pair is; None for what is no pair
    other_idx: int | None = None  # its number there; None likewise


def find_all(
    *,
    inputs_train: NDArray[Any],
    inputs_test: NDArray[Any],
    labels_train: NDArray[np.int64],
    embeddings_train: NDArray[Any],
    probabilities: NDArray[Any] | None,
) -> list[Finding]:
    """All findings, kind by kind, the oddest of a kind first; equal scores by train_idx. Nothing is drawn at random.

    An example has at most one finding of a kind. Memory beside the arguments is that of both sets of inputs once more.
    Embeddings are what a model sees before its last layer, float32 `[n_train, d]`; `probabilities` are by models that
    did not see the example `[n_train, n_classes]`, and without them no example is called ambiguous.

    Raises:
        InvalidSettingError: the arguments differ in the number of train examples.
    """
    lengths = {"inputs_train": len(inputs_train), "embeddings_train": len(embeddings_train)}
    lengths |= {} if probabilities is None else {"probabilities": len(probabilities)}
    for name, length in lengths.items():
        if length != len(labels_train):
            raise InvalidSettingError(
                f"{name} has {length:,} rows for {len(labels_train):,} labels; give one row for each train example."
            )
    labels = np.asarray(labels_train, dtype=np.int64)
    duplicates, leaks = find_near_duplicates(inputs_train, inputs_test)
    copies = duplicates.train_idx[duplicates.other_idx < duplicates.train_idx]  # the first of several stays
    single: dict[FindingKind, Found] = {"outlier": outliers(embeddings_train)}
    if probabilities is not None:
        single["ambiguous"] = ambiguous(probabilities, labels)
    single["under_represented"] = under_represented(embeddings_train, labels, copies)
    found = [
        *_best_first(_pairs("near_duplicate", duplicates, "train")),
        *_best_first(_pairs("leak", leaks, "test")),
    ]
    for kind, (numbers, scores) in single.items():
        of_kind = zip(numbers, scores, strict=True)
        found += _best_first(Finding(kind, int(idx), float(score)) for idx, score in of_kind)
    return found


def finding_columns(findings: Sequence[Finding]) -> dict[str, list[Any]]:
    """Columns of the table `findings`: kind, train_idx, score, rank (from 1 in each kind), other_split, other_idx."""
    names = ("kind", "train_idx", "score", "other_split", "other_idx")
    columns: dict[str, list[Any]] = {name: [getattr(finding, name) for finding in findings] for name in names}
    so_far: Counter[str] = Counter()
    columns["rank"] = []
    for kind in columns["kind"]:
        so_far[kind] += 1
        columns["rank"].append(so_far[kind])
    return columns


def _pairs(kind: FindingKind, duplicates: NearDuplicates, split: str) -> Iterator[Finding]:
    for idx, other, similarity in zip(duplicates.train_idx, duplicates.other_idx, duplicates.similarity, strict=True):
        yield Finding(kind, int(idx), float(similarity), split, int(other))


def _best_first(findings: Iterator[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (-finding.score, finding.train_idx))


def ambiguous(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Train examples that models cannot decide on, although the label may well be right: int64 and float64 `[n_found]`.

    Probabilities are first calibrated by one temperature: models that are trained calmly are far less sure than they
    are right, and nearly everything would look undecided. A class is in the running where it has at least half the
    probability of the most probable one. An example is ambiguous where two or more classes are in the running and its
    label is one of them; where the label is not, it is rather wrong, and that is what suspects are for. The score is
    the probability of the second class over that of the first, 0.5 to 1. `probabilities` are out of fold.
    """
    if probabilities.shape[1] < 2 or len(labels) == 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    certain = calibrated(probabilities, labels)
    first, second = -np.partition(-certain, 1, axis=1)[:, :2].T
    own = certain[np.arange(len(labels)), labels]
    found = np.flatnonzero((second >= IN_THE_RUNNING * first) & (own >= IN_THE_RUNNING * first))
    return found, second[found] / first[found]


def calibrated(probabilities: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities under the temperature that makes the labels most likely (Guo et al. 2017): `[n, n_classes]`."""
    logits = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), SMALLEST_PROBABILITY))
    rows = np.arange(len(labels))

    def negative_log_likelihood(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    best = minimize_scalar(negative_log_likelihood, bounds=(-WIDEST, WIDEST), method="bounded").x
    return np.asarray(np.exp(log_softmax(logits / np.exp(best), axis=1)), dtype=np.float64)
