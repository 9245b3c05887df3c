"""What retraining says about the methods of a run."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.evidence import lds_interval, lds_per_test, predicted_outcomes
from trak_core.store.run import Run

__all__ = [
    "Board",
    "BoardRow",
    "Fit",
    "board",
    "board_table",
    "lds_values",
    "predicted_against_actual",
    "ranked_by_lds",
]


@dataclass(frozen=True)
class BoardRow:
    """One method on the board.

    Attributes:
        method: its key.
        title: its name.
        description: one sentence.
        is_baseline: True when it uses no gradients.
        lds: mean over test examples, None when undefined.
        ci_low: lower end of the 95% interval.
        ci_high: upper end.
        share: of the noise ceiling.
        seconds: CPU seconds to compute its scores.
    """

    method: str
    title: str
    description: str
    is_baseline: bool
    lds: float | None
    ci_low: float | None
    ci_high: float | None
    share: float | None
    seconds: float

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
    """The evidence of a run at a glance.

    Attributes:
        rows: methods, best first.
        by_checkpoints: number of checkpoints to (lds, ci_low, ci_high) of the run's own method.
        noise_ceiling: the highest LDS that any method can reach against this ledger.
        n_subsets: reporting subsets.
        n_seeds: models retrained on each.
        n_models: models retrained for the whole ledger, fitting subsets included.
        slope: actual change for each unit of change that the run's own method foretells for labels.
        slope_of_others: the same for classes other than the label.
    """

    rows: list[BoardRow]
    by_checkpoints: dict[int, tuple[float, float, float]]
    noise_ceiling: float | None
    n_subsets: int
    n_seeds: int
    n_models: int
    slope: float | None
    slope_of_others: float | None


def board(run: Run) -> Board:
    """The board of a run that has evidence."""
    rows = run.rows(
        "SELECT method, title, description, is_baseline, lds, ci_low, ci_high, lds / noise_ceiling, s.seconds, "
        "noise_ceiling, n_subsets, n_seeds, calibration_slope "
        "FROM lds_summary s JOIN methods USING (method) "
        "QUALIFY n_checkpoints = max(n_checkpoints) OVER (PARTITION BY method) "
        "ORDER BY lds DESC NULLS LAST"
    )
    own = next(row for row in rows if row[0] == run.info.method)
    curve = run.rows(
        "SELECT n_checkpoints, lds, ci_low, ci_high FROM lds_summary WHERE method = ? AND lds IS NOT NULL "
        "ORDER BY n_checkpoints",
        [run.info.method],
    )
    return Board(
        rows=[BoardRow(*row[:9]) for row in rows],
        by_checkpoints={m: (lds, low, high) for m, lds, low, high in curve},
        noise_ceiling=own[9],
        n_subsets=own[10],
        n_seeds=own[11],
        n_models=own[11] * int(run.rows("SELECT count(*) FROM subsets")[0][0]),
        slope=own[12],
        slope_of_others=run.info.provenance.get("calibration_slope_of_other_classes"),
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
            "LDS": [row.lds for row in found.rows],
            "from": [row.ci_low for row in found.rows],
            "to": [row.ci_high for row in found.rows],
            "share of ceiling": [row.share for row in found.rows],
            "CPU seconds": [row.seconds for row in found.rows],
        }
    )


def ranked_by_lds(run: Run, method: str | None, k: int) -> tuple[list[int], list[int]]:
    """Numbers of the `k` test examples with the highest and with the lowest defined LDS."""
    lds = run.lds(method).per_test
    order = np.argsort(-lds, kind="stable")  # NaN comes last
    defined = [int(idx) for idx in order if np.isfinite(lds[idx])]
    return defined[:k], defined[::-1][:k]


@dataclass(frozen=True)
class Fit:
    """Foretold and actual outcomes of one test example over the reporting subsets.

    Attributes:
        predicted: foretold model outputs `[n_subsets]`: the sum of scores, moved to the mean of the actual ones.
        actual: model outputs after retraining, averaged over seeds `[n_subsets]`.
        line: the ends of the least-squares line, ((x0, y0), (x1, y1)); None when all predictions are the same.
        lds: Spearman correlation, None when undefined.
        ci_low: lower end of its 95% interval.
        ci_high: upper end.
    """

    predicted: NDArray[np.float64]
    actual: NDArray[np.float64]
    line: tuple[tuple[float, float], tuple[float, float]] | None
    lds: float | None
    ci_low: float | None
    ci_high: float | None


def predicted_against_actual(run: Run, test_idx: int, method: str | None = None) -> Fit:
    """What the scores foretell for the label of a test example, against what retraining gave.

    Raises:
        NotInRunError: there is no such test example or method.
    """
    test_idx = run.check_test(test_idx)
    scores = run.score_row(test_idx, method)[None]
    foretold = predicted_outcomes(scores, run.subset_masks("eval"))  # [n_subsets, 1]
    actual = run.mean_outcomes("eval")[:, [test_idx]]
    lds = lds_per_test(foretold, actual)
    low, high = lds_interval(lds, len(actual))
    x = foretold[:, 0] - foretold.mean() + actual.mean()
    y = actual[:, 0]
    line = None
    if np.isfinite(lds[0]):
        slope, intercept = np.polyfit(x, y, 1)
        ends = (float(x.min()), float(x.max()))
        line = ((ends[0], float(slope * ends[0] + intercept)), (ends[1], float(slope * ends[1] + intercept)))
    numbers = [float(value[0]) if np.isfinite(value[0]) else None for value in (lds, low, high)]
    return Fit(x, y, line, *numbers)
