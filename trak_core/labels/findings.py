"""What else is odd about training examples, besides labels that look wrong.

`near_duplicate`     another train example is the same or nearly so; see `duplicates`
`leak`               a test example is, so that testing on it measures memory
`outlier`            unlike every other train example; see `rarity`
`ambiguous`          models that did not see it waver between its label and others; see `ambiguity`
`under_represented`  of a class, or a group within a class, with far fewer examples than others; see `rarity`

Every rule is fixed and looks at no truth. Findings are hints for whoever reviews labels, no verdicts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.labels.ambiguity import ambiguous
from trak_core.labels.duplicates import NearDuplicates, find_near_duplicates
from trak_core.labels.rarity import outliers, under_represented

FindingKind = Literal["near_duplicate", "leak", "outlier", "ambiguous", "under_represented"]
FINDING_KINDS: tuple[FindingKind, ...] = get_args(FindingKind)


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

    Args:
        inputs_train: float32 `[n_train, ...]`.
        inputs_test: float32 `[n_test, ...]`.
        labels_train: int64 `[n_train]`.
        embeddings_train: what a model sees before its last layer, float32 `[n_train, d]`.
        probabilities: by models that did not see the example `[n_train, n_classes]`; None where there are none, and
            then no example is called ambiguous.

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
    unsure = () if probabilities is None else ambiguous(probabilities, labels)
    return [
        *_best_first(_pairs("near_duplicate", duplicates, "train")),
        *_best_first(_pairs("leak", leaks, "test")),
        *_best_first(_single("outlier", *outliers(embeddings_train))),
        *_best_first(_single("ambiguous", *unsure)),
        *_best_first(_single("under_represented", *under_represented(embeddings_train, labels, copies))),
    ]


def finding_columns(findings: Sequence[Finding]) -> dict[str, list[Any]]:
    """Columns of the table `findings`: kind, train_idx, score, rank (from 1 in each kind), other_split, other_idx."""
    ranks = dict.fromkeys(FINDING_KINDS, 0)
    columns: dict[str, list[Any]] = {
        name: [getattr(finding, name) for finding in findings]
        for name in ("kind", "train_idx", "score", "other_split", "other_idx")
    }
    columns["rank"] = []
    for finding in findings:
        ranks[finding.kind] += 1
        columns["rank"].append(ranks[finding.kind])
    return columns


def _pairs(kind: FindingKind, duplicates: NearDuplicates, split: str) -> Iterator[Finding]:
    for idx, other, similarity in zip(duplicates.train_idx, duplicates.other_idx, duplicates.similarity, strict=True):
        yield Finding(kind, int(idx), float(similarity), split, int(other))


def _single(
    kind: FindingKind, found: NDArray[np.int64] | Sequence[int] = (), scores: NDArray[Any] | Sequence[float] = ()
) -> Iterator[Finding]:
    for idx, score in zip(found, scores, strict=True):
        yield Finding(kind, int(idx), float(score))


def _best_first(findings: Iterator[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (-finding.score, finding.train_idx))
