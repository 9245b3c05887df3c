"""Brings scores to the unit of the model output, by the outcomes of retrained models."""

import numpy as np
from numpy.typing import NDArray


def calibration_slope(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    """Slope of actual against predicted outcomes `[n_subsets, n_test]`, each test example about its own mean.

    1 means that a predicted change of one unit of the model output comes true as one unit. NaN when nothing is
    predicted to change, or there are no subsets.
    """
    if not len(predicted):
        return float("nan")
    predicted_change = predicted - predicted.mean(axis=0)
    actual_change = actual - actual.mean(axis=0)
    spread = float((predicted_change**2).sum())
    return float((predicted_change * actual_change).sum() / spread) if spread > 0 else float("nan")
