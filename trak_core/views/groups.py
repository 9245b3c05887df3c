"""What groups of train examples do together: to classes, to one test example, class by class.

All of it is sums over the `class_influence` rows of a run, `[n_classes, n_train]`, so that no page reads all scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.ranking import Side
from trak_core.store.run import Run
from trak_core.views.examples import Example, read_examples

CELL_PAIRS = 24
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassInfluence:
    """What every train example does to the test examples of each class, on average."""

    method: str  # that made the scores
    names: tuple[str, ...]  # of the classes that have test examples
    classes: NDArray[np.int64]  # their numbers, int64 `[n]`
    n_tests: NDArray[np.int64]  # how many test examples each has, int64 `[n]`
    values: NDArray[np.float32]  # mean score over those, float32 `[n, n_train]`


@dataclass(frozen=True)
class ClassMatrix:
    """How the training class of a row moves the test class of a column."""

    rows: NDArray[np.int64]  # numbers of the classes that have train examples, int64 `[n_rows]`
    columns: NDArray[np.int64]  # numbers of the classes that have test examples, int64 `[n_columns]`
    names: tuple[str, ...]  # of all classes
    # change of the model output of a test example of the column, on average, by the scores; of all train examples of
    # the row together, or of one of them on average. float64 `[n_rows, n_columns]`.
    values: Floats
    per: Literal["together", "example"]  # "together" or "example"

    def strongest(self, n: int) -> "ClassMatrix":
        """The rows and columns of up to `n` classes each, those that move others, or are moved, most."""
        differs = self.rows[:, None] != self.columns[None, :]
        strength = np.where(differs, np.abs(self.values), 0)
        rows = np.sort(np.argsort(-strength.sum(1), kind="stable")[:n])
        columns = np.sort(np.argsort(-strength.sum(0), kind="stable")[:n])
        return ClassMatrix(
            self.rows[rows], self.columns[columns], self.names, self.values[np.ix_(rows, columns)], self.per
        )


@dataclass(frozen=True)
class Pair:
    """A train example and a test example that it moves."""

    score: float  # of the train example for the label of the test example
    train: Example  # the train example
    test: Example  # the test example


def class_influence(run: Run, method: str | None = None) -> ClassInfluence:
    """The rows of the table `class_influence` for a method, the run's own by default.

    Raises:
        NotInRunError: the run has no such method.
    """
    method = run.check_method(method)
    table = run.arrow('SELECT test_class, "values" FROM class_influence WHERE method = ? ORDER BY test_class', [method])
    classes = table["test_class"].to_numpy().astype(np.int64)
    counts = np.bincount(run.test_labels, minlength=len(run.info.class_names))
    return ClassInfluence(
        method=method,
        names=tuple(run.info.class_names[label] for label in classes),
        classes=classes,
        n_tests=counts[classes],
        values=from_arrow_arrays(table, "values"),
    )


def group_influence(influence: ClassInfluence, train_idx: Sequence[int]) -> Floats:
    """What train examples do together to a test example of each class, on average: float64 `[n]`."""
    return np.asarray(influence.values[:, list(train_idx)].sum(1, dtype=np.float64))


def class_matrix(run: Run, influence: ClassInfluence, per: Literal["together", "example"] = "together") -> ClassMatrix:
    """How each training class moves each test class, all its train examples together or one of them on average."""
    labels, n_classes = run.train_labels, len(run.info.class_names)
    counts = np.bincount(labels, minlength=n_classes)
    rows = np.flatnonzero(counts)
    sums = np.stack([np.bincount(labels, weights=row, minlength=n_classes) for row in influence.values], axis=1)[rows]
    values = sums if per == "together" else sums / counts[rows, None]
    return ClassMatrix(rows, influence.classes, run.info.class_names, np.asarray(values, dtype=np.float64), per)


def strongest_cell(matrix: ClassMatrix) -> tuple[int, int]:
    """Training class and test class that differ and move each other most; the strongest of all where none differ."""
    strength = np.abs(matrix.values)
    differs = matrix.rows[:, None] != matrix.columns[None, :]
    if differs.any():
        strength = np.where(differs, strength, -1)
    row, column = np.unravel_index(int(strength.argmax()), strength.shape)
    return int(matrix.rows[row]), int(matrix.columns[column])


def cell_pairs(run: Run, method: str, train_class: int, test_class: int, side: Side, k: int = CELL_PAIRS) -> list[Pair]:
    """The strongest pairs of a cell on one side, strongest first.

    Looked for among the 100 strongest of each test example on each side, which is where strong pairs are.

    Raises:
        NotInRunError: there is no such method or class.
    """
    run.check_class(train_class), run.check_class(test_class)
    rows = run.rows(
        "WITH train AS (SELECT idx FROM examples WHERE split = 'train' AND label = ?), "
        "test AS (SELECT idx FROM examples WHERE split = 'test' AND label = ?) "
        "SELECT score, train_idx, test_idx FROM topk WHERE method = ? AND side = ? "
        "AND train_idx IN (SELECT idx FROM train) AND test_idx IN (SELECT idx FROM test) AND score * ? > 0 "
        "ORDER BY abs(score) DESC, test_idx, train_idx LIMIT ?",
        [train_class, test_class, run.check_method(method), side, 1 if side == "proponent" else -1, k],
    )
    if not rows:
        return []
    scores, train_idx, test_idx = zip(*rows, strict=True)
    shown = zip(scores, read_examples(run, "train", train_idx), read_examples(run, "test", test_idx), strict=True)
    return [Pair(float(score), train, test) for score, train, test in shown]
