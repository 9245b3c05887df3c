"""What a model says of test examples, where somebody brings it along with scores."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError, ShapeMismatchError
from trak_core.exchange.score_files import Found, from_array, open_scores
from trak_core.store.run_tables import prediction_columns

TOLERANCE = 1e-2
"""Of the sum of probabilities: those in half precision are that far off."""
_TINY = 1e-37


def read_probabilities(given: Any, n_test: int, class_names: tuple[str, ...]) -> NDArray[np.float32]:
    """Probabilities `[n_test, n_classes]` from an array or a file as scores may come in; each row adds up to 1.

    Raises:
        InvalidDataError: the file cannot be read, or a number is no probability.
        ShapeMismatchError: the matrix has another shape.
    """
    found: Found = open_scores(Path(given)) if isinstance(given, str | Path) else from_array(given)
    n_classes = len(class_names)
    if found.shape != (n_test, n_classes):
        rows, columns = found.shape or ("?", "?")
        raise ShapeMismatchError(
            f"{found.where} holds predictions of {rows} x {columns}, and {n_test:,} test examples with {n_classes} "
            f"classes need {n_test:,} x {n_classes}; give a probability for each class, in the order "
            f"{', '.join(class_names[:8])}{' ...' if n_classes > 8 else ''}."
        )
    values = np.asarray(found.load(n_test, n_classes), dtype=np.float64)
    is_bad = ~((values >= 0) & (values <= 1))  # NaN too
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        raise InvalidDataError(
            f"{found.where} holds {values[row, column]:.6g} at row {row}, column {column} (counted from 0); "
            "predictions must be probabilities from 0 to 1, so put logits through a softmax first."
        )
    sums = values.sum(1)
    if (np.abs(sums - 1) > TOLERANCE).any():
        row = int((np.abs(sums - 1) > TOLERANCE).argmax())
        raise InvalidDataError(
            f"{found.where}: the probabilities in row {row} (counted from 0) add up to {sums[row]:.4g}; those of all "
            "classes must add up to 1."
        )
    return np.asarray(values / sums[:, None], dtype=np.float32)


def answer_columns(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Columns of the table `predictions`, of one model and all test examples."""
    p = probabilities.astype(np.float64)
    at = np.arange(len(labels))
    of_label = p[at, labels]
    others = p.copy()
    others[at, labels] = 0  # summed without the label: the whole less p is 0 where a model is very sure
    log_p, log_others = (np.log(np.maximum(values, _TINY)) for values in (of_label, others.sum(1)))
    return prediction_columns(
        [0],
        "test",
        (log_p - log_others).astype(np.float32)[None],
        loss=(-log_p).astype(np.float32)[None],
        p_label=of_label.astype(np.float32)[None],
        predicted=p.argmax(1)[None],
        probabilities=probabilities[None],
    )
