"""Targets: what can be asked about a test example, as the store numbers them.

Target 0 is the default: the label for classification, the whole for other tasks. Further targets are numbered from 1.
For classification target `c + 1` is class `c`; the label's own class is target 0 and is not listed a second time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.ledger import Reader

DEFAULT = 0
"""The target that `scores`, `topk`, `lds` and `outcomes` are of."""
NUMBERS_AT_ONCE = 2**25
"""Scores that are read at once."""


def target_of_class(label: int, number: int) -> int:
    """The target that asks a test example of some label about a class."""
    return DEFAULT if number == label else number + 1


def class_of_target(label: int, target: int) -> int:
    """The class that a target asks a test example of some label about."""
    return label if target == DEFAULT else target - 1


def class_targets(labels: NDArray[np.int64], n_classes: int, first: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every class but the label, for the test examples from `first` on: test_idx and target `[n * (n_classes - 1)]`."""
    place, number = np.nonzero(np.arange(n_classes)[None] != labels[:, None])
    return place + first, number + 1


def listed_targets(names: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Columns of the table `targets`, from the names of the targets 0, 1, ... of each test example, each name once."""
    return {
        "test_idx": np.repeat(np.arange(len(names)), [len(of_one) for of_one in names]),
        "target": np.concatenate([np.arange(len(of_one)) for of_one in names]),
        "name": [name for of_one in names for name in of_one],
    }


def target_columns(labels: NDArray[np.int64], class_names: Sequence[str], first: int = 0) -> dict[str, Any]:
    """Columns of the table `targets` for classification: the label of each test example, then every other class."""
    test_idx, target = class_targets(labels, len(class_names), first)
    own = np.arange(first, first + len(labels))
    names = np.asarray(class_names, dtype=object)
    return {
        "test_idx": np.concatenate([own, test_idx]),
        "target": np.concatenate([np.zeros_like(own), target]),
        "name": [*names[labels], *names[target - 1]],
    }


@dataclass(frozen=True)
class TargetScores:
    """Scores of one method for all further targets of some test examples."""

    method: str  # that made them
    test_idx: NDArray[np.int64]  # of the test examples, rising `[n]`
    target: NDArray[np.int64]  # of each, from 1, rising within a test example `[n]`
    scores: NDArray[np.float32]  # `[n, n_train]` float32


def read_target_scores(reader: Reader, n_train: int) -> Iterator[TargetScores]:
    """All scores for further targets, by method and test example, a few test examples at a time."""
    counts = reader.columns(
        "SELECT method, test_idx, count(*) AS n FROM target_scores GROUP BY ALL ORDER BY method, test_idx", []
    )
    methods, tests = counts["method"].astype(str), counts["test_idx"]
    # Test examples of one block have as many scores together as fit, and at least one has its place.
    block = (np.cumsum(counts["n"].astype(np.int64)) - 1) * n_train // NUMBERS_AT_ONCE
    for method in np.unique(methods):
        for number in np.unique(block[methods == method]):
            there = tests[(methods == method) & (block == number)]
            table = reader.arrow(
                'SELECT test_idx, target, "values" FROM target_scores WHERE method = ? AND test_idx BETWEEN ? AND ? '
                "ORDER BY test_idx, target",
                [str(method), int(there[0]), int(there[-1])],
            )
            yield TargetScores(
                str(method),
                table["test_idx"].to_numpy().astype(np.int64),
                table["target"].to_numpy().astype(np.int64),
                from_arrow_arrays(table, "values"),
            )
