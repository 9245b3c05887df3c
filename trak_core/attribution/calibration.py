"""Chooses the ridge and the scale of scores by models retrained on subsets."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError
from trak_core.evidence import calibration_slope, lds_per_test, predicted_outcomes

__all__ = ["RIDGES", "Calibration", "calibrate"]

RIDGES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Candidates, relative to the mean squared gradient norm."""


@dataclass(frozen=True)
class Calibration:
    """What retrained models say of the scores.

    Attributes:
        ridge: with the highest LDS.
        factor: that brings scores to the unit of the model output, the slope of actual against foretold changes.
        lds_by_ridge: mean LDS of every candidate on the subsets given.
    """

    ridge: float
    factor: float
    lds_by_ridge: dict[float, float]


def calibrate(
    score: Callable[[float], NDArray[np.float32]],
    masks: NDArray[np.bool_],
    outcomes: NDArray[np.float64],
    ridges: Sequence[float] | None = None,
) -> Calibration:
    """The ridge and factor that suit the outcomes best.

    Args:
        score: gives uncalibrated scores `[n_test, n_train]` for a ridge.
        masks: bool `[n_subsets, n_train]`.
        outcomes: `[n_subsets, n_test]`.
        ridges: candidates.

    Raises:
        InvalidDataError: masks and outcomes do not fit together, or tell nothing.
    """
    lds_by_ridge: dict[float, float] = {}
    best, best_predicted = math.nan, None
    for ridge in ridges or RIDGES:
        scores = score(ridge)
        if masks.ndim != 2 or outcomes.shape != (len(masks), len(scores)) or masks.shape[1] != scores.shape[1]:
            raise InvalidDataError(
                f"masks {masks.shape} and outcomes {outcomes.shape} do not fit scores {scores.shape}; give masks "
                f"[n_subsets, {scores.shape[1]}] and outcomes [n_subsets, {len(scores)}]."
            )
        predicted = predicted_outcomes(scores, masks.astype(bool))
        lds = float(np.nanmean(lds_per_test(predicted, outcomes)))
        if best_predicted is None or lds > lds_by_ridge[best]:
            best, best_predicted = ridge, predicted
        lds_by_ridge[ridge] = lds
    assert best_predicted is not None  # there is at least one candidate
    slope = calibration_slope(best_predicted, outcomes)
    if not math.isfinite(slope) or slope <= 0:
        raise InvalidDataError(
            f"the slope of actual against foretold changes is {slope:.3g} at the best ridge, {best:g}: these "
            f"{len(masks)} subsets cannot tell the scale of the scores. Give more subsets."
        )
    return Calibration(best, slope, lds_by_ridge)
