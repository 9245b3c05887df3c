"""Predicted against actual outcomes of one test example over the retrained halves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.evidence.lds import lds_with_interval, predicted_outcomes
from trak_core.store.run import Run
from trak_core.store.run_ledger import outcomes, subset_masks
from trak_core.store.targets import DEFAULT
from trak_core.views.browse import TestOverview
from trak_core.views.explanation import answer_target, lds_of


@dataclass(frozen=True)
class Fit:
    """Prediction and actual outcomes of one test example over the reporting subsets."""

    predicted: NDArray[np.float64]  # sums of scores, moved to the mean outcome `[n_subsets]`
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
    lds, low, high = lds_with_interval(predicted, actual)
    x = predicted[:, 0] - predicted.mean() + actual.mean()
    y = actual[:, 0]
    line = None
    if np.isfinite(lds[0]) and np.ptp(x) > 0:
        slope, intercept = np.polyfit(x, y, 1)
        ends = (float(x.min()), float(x.max()))
        line = ((ends[0], float(slope * ends[0] + intercept)), (ends[1], float(slope * ends[1] + intercept)))
    numbers = [float(value[0]) if np.isfinite(value[0]) else None for value in (lds, low, high)]
    return Fit(x, y, line, *numbers)


def other_class_sentence(run: Run, tests: TestOverview, test_idx: int, method: str | None = None) -> str:
    """Why Explore shows another LDS for a test example than that of its label; empty where it shows the same.

    Explore opens with the model's own answer, which has scores and an LDS of its own where it is not the label.

    Raises:
        NotInRunError: there is no such test example or method.
    """
    test_idx, method = run.check_test(test_idx), run.check_method(method)
    target = answer_target(run, tests, test_idx, method)
    if target == DEFAULT:
        return ""
    found, names = lds_of(run, method, test_idx, target), run.targets(test_idx)
    its = "is undefined" if found.lds is None else f"is {found.lds:.2f}"
    return (
        f"This is about its label, “{names[DEFAULT]}”. The model answers “{names[target]}”, which Explore opens with: "
        f"that is another question, and its LDS {its}."
    )
