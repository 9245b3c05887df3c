"""From sums of scores to a change of the margin: the scale, and how well it held.

Scores are calibrated on random halves of the training data. On the whole of it an example has about twice as many of
its kind beside it, so that taking away one or a few does less than its score says; and the more of those that an
answer leans on go, the more each that is left counts. One curve holds both. With `P` the sum of all positive scores of
the test example, `p` the part of it that is removed and `n` the sum of the sizes of the negative scores removed,

    change = factor * (P * log(1 - p / P) + n),

which is the factor times the plain sum of scores where little is removed. That opponents add up without a bend was
found by removing 10 and 40 of them (docs/what-if.md).

The factor is estimated from what retraining has shown: the run's `removals`, and the what-ifs that were verified.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.run import Run
from trak_core.store.what_ifs import Verified

Floats = NDArray[np.float64]
DEFAULT_FACTOR = 0.65
"""Of scores calibrated on random halves; TRAK, MAGIC, EK-FAC and SOURCE have .61 to .78 on both recipes."""
MIN_KNOWN = 10
ROWS_AT_ONCE = 64
MOST_SHARE = 0.98
"""Of `P` that a prediction takes to be removed at most; the curve ends at 1."""


def removal_units(rows: NDArray[np.floating], removed: Sequence[int]) -> Floats:
    """Prediction changes `[n]` with factor 1, one for each row of scores `[n, n_train]`."""
    gone = rows[:, list(removed)].astype(np.float64)
    positive = np.clip(gone, 0, None).sum(1)
    negative = np.clip(-gone, 0, None).sum(1)
    whole = np.clip(rows, 0, None).sum(1, dtype=np.float64)
    share = np.divide(positive, whole, out=np.zeros_like(positive), where=whole > 0)
    return np.asarray(whole * np.log1p(-np.minimum(share, MOST_SHARE)) + negative)


@dataclass(frozen=True)
class Known:
    """Removals of which retraining has told what they did to the margin of the label."""

    test_idx: NDArray[np.int64]  # of the test examples `[n]`
    units: Floats  # predicted changes with factor 1 `[n]`
    changes: Floats  # actual changes `[n]`


def known_removals(run: Run, method: str) -> Known:
    """What the run's own removals say about the scores of a method; empty where none were measured."""
    # Sets are told by the top lists, and skipped where these are shorter.
    asked = run.rows(
        "SELECT r.test_idx, list(train_idx ORDER BY rank), any_value(model_output - unremoved) "
        "FROM removals r JOIN topk t ON t.method = r.method AND t.test_idx = r.test_idx AND rank <= k "
        "WHERE side = 'proponent' GROUP BY r.test_idx, r.method, k HAVING count(*) = k ORDER BY r.test_idx, r.method, k"
    )
    return _known(run, method, asked)


def with_what_ifs(known: Known, run: Run, method: str, history: Sequence[Verified]) -> Known:
    """The known removals and, behind them, one entry for each what-if of the history, in its order."""
    asked = [
        (one.question.test_idx, one.question.removed, one.change[run.label("test", one.question.test_idx)])
        for one in history
    ]
    more = _known(run, method, asked)
    return Known(
        np.concatenate([known.test_idx, more.test_idx]),
        np.concatenate([known.units, more.units]),
        np.concatenate([known.changes, more.changes]),
    )


def _known(run: Run, method: str, asked: Sequence[tuple[Any, ...]]) -> Known:
    """Test example, removed train examples and change of each, with what the scores of a method predict."""
    of_test: dict[int, list[int]] = {}
    for place, (test_idx, _, _) in enumerate(asked):
        of_test.setdefault(test_idx, []).append(place)
    units = np.zeros(len(asked))
    for test_idx, row in _label_rows(run, method, list(of_test)):
        for place in of_test[test_idx]:
            units[place] = removal_units(row[None], asked[place][1])[0]
    tests = np.array([test_idx for test_idx, _, _ in asked], dtype=np.int64)
    return Known(tests, units, np.array([change for _, _, change in asked], dtype=np.float64))


def _label_rows(run: Run, method: str, tests: list[int]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Test examples with their scores `[n_train]` for the label; few are held at once."""
    for start in range(0, len(tests), ROWS_AT_ONCE):
        table = run.arrow(
            'SELECT test_idx, "values" FROM scores WHERE method = ? AND test_idx IN (SELECT unnest(?::INTEGER[]))',
            [method, tests[start : start + ROWS_AT_ONCE]],
        )
        yield from zip(table["test_idx"].to_pylist(), from_arrow_arrays(table, "values"), strict=True)


@dataclass(frozen=True)
class Scale:
    """What turns sums of scores of one method into changes of the margin."""

    factor: float | None  # of the curve; None where scores have no unit and nothing was measured to give them one
    n_known: int = 0  # removals that it was estimated from; 0 where it is the default
    # the median of |predicted - actual| over them, each half of the test examples predicted by the factor of the other
    # half; None where it is the default
    typical_error: float | None = None
    correlation: float | None = None  # of predicted and actual changes, likewise


def default_factor(run: Run, method: str) -> float | None:
    """The factor of scores for labels where nothing was measured; None where they have no unit.

    Scores of runs without random halves, saved from Python, are estimates for the whole data already.
    """
    if not run.in_model_units(method):
        return None
    return DEFAULT_FACTOR if run.info.provenance["n_subsets"] else 1.0


def estimate_scale(known: Known, default: float | None) -> Scale:
    """The scale that the known removals give, or the default, `default_factor` of the run and the method."""
    factor = _slope(known.units, known.changes)
    if factor is None:
        return Scale(default)
    halves = np.searchsorted(np.unique(known.test_idx), known.test_idx) % 2 == 0
    predicted = np.full(len(known.units), np.nan)
    for half in (halves, ~halves):
        other = _slope(known.units[~half], known.changes[~half])
        if other is not None:
            predicted[half] = other * known.units[half]
    judged = np.isfinite(predicted)
    if not judged.any():
        return Scale(factor, len(known.units))
    error = float(np.median(np.abs(predicted - known.changes)[judged]))
    varies = judged.sum() > 2 and predicted[judged].std() > 0 and known.changes[judged].std() > 0
    r = float(np.corrcoef(predicted[judged], known.changes[judged])[0, 1]) if varies else None
    if default is None and (r is None or r <= 0):
        return Scale(None)  # such scores predict nothing
    return Scale(factor, len(known.units), error, r)


def leave_one_out(known: Known, default: float | None) -> NDArray[np.float64]:
    """Prediction changes `[n]`, each with the factor that all the others give; NaN where they give none."""
    n = len(known.units)
    squares = known.units @ known.units - known.units**2
    products = known.units @ known.changes - known.units * known.changes
    factors = np.full(n, np.nan if default is None else default)
    if n - 1 >= MIN_KNOWN:
        np.divide(products, squares, out=factors, where=squares > 0)
    return factors * known.units


def _slope(units: Floats, changes: Floats) -> float | None:
    """Of the least-squares line through zero; None where too little is known, or scores point the wrong way."""
    squares = float(units @ units)
    if len(units) < MIN_KNOWN or squares == 0:
        return None
    slope = float(units @ changes) / squares
    return slope if slope > 0 else None
