"""What retraining says about the methods of a run."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.evidence import compare_removals, lds_interval, lds_per_test, predicted_outcomes
from trak_core.store.run import Run, outcomes, reported_tests, subset_masks


@dataclass(frozen=True)
class BoardRow:
    """One method on the board."""

    method: str  # its key
    title: str  # its name
    description: str  # one sentence
    is_baseline: bool  # True for methods that real attribution must beat
    lds: float | None  # mean over test examples, None when undefined
    ci_low: float | None  # lower end of the 95% interval
    ci_high: float | None  # upper end
    share: float | None  # of the noise ceiling
    seconds: float  # CPU seconds to compute its scores
    n_checkpoints: int = 0  # that it is averaged over, 0 where it uses none
    peak_megabytes: float | None = None  # by how much memory grew at its peak, None where it was not measured

    @property
    def below(self) -> float:
        """How far the interval reaches below the LDS; 0 when undefined."""
        return 0.0 if self.lds is None or self.ci_low is None else self.lds - self.ci_low

    @property
    def above(self) -> float:
        """How far the interval reaches above the LDS; 0 when undefined."""
        return 0.0 if self.lds is None or self.ci_high is None else self.ci_high - self.lds


@dataclass(frozen=True)
class Board:
    """The evidence of a run at a glance."""

    rows: list[BoardRow]  # methods with all their checkpoints, best first
    rows_with_one_or_all: list[BoardRow]  # the same, and those of single checkpoints, best first
    # number of checkpoints to (lds, ci_low, ci_high) of the run's own method
    by_checkpoints: dict[int, tuple[float, float, float]]
    noise_ceiling: float | None  # the highest LDS that any method can reach against this ledger
    n_subsets: int  # reporting subsets
    n_seeds: int  # models retrained on each
    n_models: int  # models retrained for the whole ledger, fitting subsets included
    slope: float | None  # actual change for each unit of change that the run's own method predicts for labels
    slope_of_others: float | None  # the same for classes other than the label
    n_reported: int  # test examples that means are over
    n_test: int  # all of them; where it is the same number, settings were chosen on the same ones
    left_out: dict[str, str]  # methods that could not be had, with the reason
    n_diverged: int  # random halves, subsets and removals that were left out because a model of them diverged
    is_measured: bool  # True when every method was asked for


def _one_or_all(rows: list[BoardRow]) -> list[BoardRow]:
    """Rows with a single checkpoint, and with as many as the method was given."""
    most = {row.method: max(other.n_checkpoints for other in rows if other.method == row.method) for row in rows}
    return [row for row in rows if row.n_checkpoints in (1, most[row.method])]


def board(run: Run) -> Board:
    """The board of a run that has evidence."""
    rows = run.rows(
        "SELECT method, title, description, is_baseline, lds, ci_low, ci_high, lds / noise_ceiling, s.seconds, "
        "n_checkpoints, peak_megabytes, noise_ceiling, n_subsets, n_seeds, calibration_slope, "
        "n_checkpoints = max(n_checkpoints) OVER (PARTITION BY method) "
        "FROM lds_summary s JOIN methods USING (method) ORDER BY lds DESC NULLS LAST, method, n_checkpoints"
    )
    own = next(row for row in rows if row[0] == run.info.method and row[-1])
    made = run.info.provenance
    curve = run.rows(
        "SELECT n_checkpoints, lds, ci_low, ci_high FROM lds_summary WHERE method = ? AND lds IS NOT NULL "
        "ORDER BY n_checkpoints",
        [run.info.method],
    )
    return Board(
        rows=[BoardRow(*row[:11]) for row in rows if row[-1]],
        rows_with_one_or_all=_one_or_all([BoardRow(*row[:11]) for row in rows]),
        by_checkpoints={m: (lds, low, high) for m, lds, low, high in curve},
        noise_ceiling=own[11],
        n_subsets=own[12],
        n_seeds=own[13],
        n_models=own[13] * int(run.rows("SELECT count(*) FROM subsets")[0][0]),
        slope=own[14],
        slope_of_others=made.get("calibration_slope_of_other_targets"),
        n_reported=int(reported_tests(run).sum()),
        n_test=run.info.n_test,
        left_out=made.get("methods_left_out") or {},
        n_diverged=int(run.rows("SELECT count(*) FROM subsets WHERE role = 'diverged'")[0][0])
        + sum((made.get("n_diverged") or {}).values()),
        is_measured=bool(made.get("measured_every_method")),
    )


def lds_values(run: Run, method: str | None = None) -> NDArray[np.float64]:
    """Defined LDS values over the test examples, in their order, undefined ones left out."""
    values = run.lds(method).per_test
    return values[np.isfinite(values)]


def board_table(found: Board) -> pd.DataFrame:
    """The board as a table, one row a method; undefined values are empty."""
    return pd.DataFrame(
        {
            "method": [row.title for row in found.rows],
            "LDS": _floats(row.lds for row in found.rows),
            "from": _floats(row.ci_low for row in found.rows),
            "to": _floats(row.ci_high for row in found.rows),
            "share of ceiling": _floats(row.share for row in found.rows),
            "checkpoints": [row.n_checkpoints or None for row in found.rows],
            "CPU seconds": [row.seconds for row in found.rows],
            "memory (MB)": _floats(row.peak_megabytes for row in found.rows),
        }
    )


def _floats(values: Iterable[float | None]) -> "pd.Series[float]":
    """A column in which what is undefined is empty, even where nothing is defined."""
    return pd.Series(list(values), dtype=float)


def ranked_by_lds(run: Run, method: str | None, k: int) -> tuple[list[int], list[int]]:
    """Numbers of the `k` test examples with the highest and with the lowest defined LDS."""
    lds = run.lds(method).per_test
    order = np.argsort(-lds, kind="stable")  # NaN comes last
    defined = [int(idx) for idx in order if np.isfinite(lds[idx])]
    return defined[:k], defined[::-1][:k]


@dataclass(frozen=True)
class TruthRow:
    """LDS of one method against one further truth."""

    truth_id: int  # of the truth
    kind: str  # "multi-seed" or "single model"
    dropped: float  # share of the train examples that is dropped
    title: str  # of the method
    n_checkpoints: int  # that it is averaged over, 0 where it uses none
    lds: float | None  # mean over test examples, None when undefined
    ci_low: float | None  # lower end of the 95% interval
    ci_high: float | None  # upper end
    noise_ceiling: float | None  # None for a single model, whose outcomes have no noise
    n_subsets: int  # subsets retrained on
    n_seeds: int  # models a subset


def truth_rows(run: Run) -> list[TruthRow]:
    """LDS against every further truth, truth by truth, best method first; empty where none was measured."""
    return [
        TruthRow(*row)
        for row in run.rows(
            "SELECT truth_id, kind, dropped, title, n_checkpoints, lds, ci_low, ci_high, noise_ceiling, n_subsets, "
            "n_seeds FROM truth_lds JOIN truths USING (truth_id) JOIN methods USING (method) "
            "ORDER BY truth_id, lds DESC NULLS LAST, method, n_checkpoints"
        )
    ]


def truth_table(rows: list[TruthRow]) -> pd.DataFrame:
    """LDS with a row a method and a column a truth, best method first; undefined values are empty.

    A single model is asked about by the scores of that model alone, several seeds by all checkpoints.
    """
    columns: dict[str, dict[str, float | None]] = {}
    for row in rows:
        whose = "one model" if row.kind == "single model" else "several seeds"
        column = columns.setdefault(f"{whose}, {row.dropped:.0%} dropped", {})
        # Rows of a method come by number of checkpoints within an LDS order of their own.
        counts = [other.n_checkpoints for other in rows if (other.truth_id, other.title) == (row.truth_id, row.title)]
        if row.n_checkpoints == (min(counts) if row.kind == "single model" else max(counts)):
            column[row.title] = row.lds
    table = pd.DataFrame(columns, dtype=float)
    order = table.mean(axis=1).sort_values(ascending=False, na_position="last").index
    return table.loc[order].rename_axis("method").reset_index()


@dataclass(frozen=True)
class RemovalCurve:
    """What removing the first k train examples of a method does, over the test examples that it was measured on."""

    method: str  # its key
    title: str  # its name
    sizes: list[int]  # how many were removed
    falls: list[float]  # mean fall of the margin for each size
    lows: list[float]  # lower ends of the 95% intervals of the mean
    highs: list[float]  # upper ends
    flipped: list[float]  # share of the test examples whose answer flipped


def removal_curves(run: Run) -> list[RemovalCurve]:
    """One curve a method, the strongest first; empty where removal was not measured."""
    rows = run.rows(
        "SELECT method, title, k, avg(unremoved - model_output), stddev_samp(unremoved - model_output), "
        "avg(flipped::DOUBLE), count(*) FROM removals JOIN methods USING (method) "
        # The search for the smallest set that flips an answer tries other sizes for few test examples.
        "WHERE k IN (SELECT unnest(?::INTEGER[])) GROUP BY method, title, k ORDER BY method, k",
        [run.info.provenance.get("removal_sizes") or []],
    )
    curves: dict[str, RemovalCurve] = {}
    for method, title, k, fall, spread, flipped, n in rows:
        curve = curves.setdefault(method, RemovalCurve(method, title, [], [], [], [], []))
        half_width = 1.96 * (spread or 0.0) / n**0.5
        curve.sizes.append(k)
        curve.falls.append(fall)
        curve.lows.append(fall - half_width)
        curve.highs.append(fall + half_width)
        curve.flipped.append(flipped)
    # While removal is being measured, curves differ in length; the first size is there for all of them.
    common = min((len(curve.sizes) for curve in curves.values()), default=0)
    return sorted(curves.values(), key=lambda curve: -curve.falls[common - 1])


@dataclass(frozen=True)
class RemovalComparison:
    """How often one removal lowers the margin more than another of the same size."""

    title: str  # of the method whose removal is compared
    k: int  # how many are removed
    # of the test examples for which it lowers the margin more than removing nearest neighbours of the class
    share: float
    ci_low: float  # lower end of the 95% interval over test examples
    ci_high: float  # upper end
    n_tests: int  # test examples


def removal_comparison(run: Run, k: int) -> RemovalComparison | None:
    """The best method against nearest neighbours of the same class; None where either was not measured.

    Best is meant by LDS of the test examples that settings were chosen on, so that the choice does not favour it here.
    """
    method = run.info.provenance.get("removal_method")
    rows = run.rows(
        "SELECT ours.model_output - ours.unremoved, theirs.model_output - theirs.unremoved "
        "FROM removals ours JOIN removals theirs USING (test_idx, k, n_seeds) "
        "WHERE ours.method = ? AND theirs.method = 'nearest' AND k = ? ORDER BY test_idx",
        [method, k],
    )
    if not rows or method is None or method == "nearest":
        return None
    ours, theirs = np.array(rows, dtype=np.float64).T
    share, low, high = compare_removals(ours, theirs)
    return RemovalComparison(run.method_titles[method], k, share, low, high, len(rows))


def flip_sizes(run: Run) -> tuple[str, list[int], int] | None:
    """Title of the method, the smallest sets that were found to flip an answer, and the test examples tried."""
    rows = run.rows(
        "SELECT title, test_idx, min(k) FILTER (WHERE flipped) FROM removals JOIN methods USING (method) "
        "WHERE method = ? GROUP BY title, test_idx ORDER BY test_idx",
        [run.info.provenance.get("removal_method")],
    )
    return (rows[0][0], sorted(k for _, _, k in rows if k is not None), len(rows)) if rows else None


@dataclass(frozen=True)
class Fit:
    """Prediction and actual outcomes of one test example over the reporting subsets."""

    # predicted model outputs `[n_subsets]`: the sum of scores, moved to the mean of the actual ones
    predicted: NDArray[np.float64]
    actual: NDArray[np.float64]  # model outputs after retraining, averaged over seeds `[n_subsets]`
    # the ends of the least-squares line, ((x0, y0), (x1, y1)); None when all predictions are the same
    line: tuple[tuple[float, float], tuple[float, float]] | None
    lds: float | None  # Spearman correlation, None when undefined
    ci_low: float | None  # lower end of its 95% interval
    ci_high: float | None  # upper end


def predicted_against_actual(run: Run, test_idx: int, method: str | None = None) -> Fit:
    """What the scores predict for the label of a test example, against what retraining gave.

    Raises:
        NotInRunError: there is no such test example or method.
    """
    test_idx = run.check_test(test_idx)
    scores = run.score_row(test_idx, method)[None]
    predicted = predicted_outcomes(scores, subset_masks(run, "eval"))  # [n_subsets, 1]
    actual = outcomes(run, "eval").mean(1)[:, [test_idx]]
    lds = lds_per_test(predicted, actual)
    low, high = lds_interval(lds, len(actual))
    x = predicted[:, 0] - predicted.mean() + actual.mean()
    y = actual[:, 0]
    line = None
    if np.isfinite(lds[0]):
        slope, intercept = np.polyfit(x, y, 1)
        ends = (float(x.min()), float(x.max()))
        line = ((ends[0], float(slope * ends[0] + intercept)), (ends[1], float(slope * ends[1] + intercept)))
    numbers = [float(value[0]) if np.isfinite(value[0]) else None for value in (lds, low, high)]
    return Fit(x, y, line, *numbers)
