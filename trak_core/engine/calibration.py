"""Chooses the ridge and the scale of scores by models retrained on subsets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.evidence.lds import calibration_slope, lds_per_test
from trak_core.methods import best


@dataclass(frozen=True)
class Calibration:
    """What retrained models say of the scores."""

    ridge: float | None  # with the highest LDS; None of a method that has none
    factor: float  # that brings scores to the unit of the model output: the slope of actual against predicted changes
    lds_by_ridge: dict[float, float]  # mean LDS of every candidate on the subsets given
    lds: float  # of the scores that were chosen, on the same subsets


def check_masks(masks: Any, outcomes: Any, n_train: int) -> NDArray[np.bool_]:
    """Masks as bool `[n_subsets, n_train]`; InvalidDataError where they do not fit the train examples."""
    given: NDArray[Any] = np.asarray(masks)
    if given.ndim != 2 or given.shape[1] != n_train:
        raise InvalidDataError(_misfit(given, np.asarray(outcomes), f"{n_train} train examples"))
    return given.astype(bool)


def calibrate(predicted: Mapping[float, NDArray[np.float64]], masks: NDArray[np.bool_], outcomes: Any) -> Calibration:
    """The ridge and factor that suit the outcomes best.

    Args:
        predicted: ridge to predicted outcomes `[n_subsets, n_test]`.
        masks: bool `[n_subsets, n_train]`.
        outcomes: `[n_subsets, n_test]`.

    Raises:
        InvalidDataError: masks and outcomes do not fit together, or tell nothing.
        InvalidSettingError: there is no candidate.
    """
    if not predicted:
        raise InvalidSettingError("ridges holds no candidate; give at least one.")
    outcomes, expected = np.asarray(outcomes, dtype=np.float64), next(iter(predicted.values())).shape
    if outcomes.shape != expected:
        raise InvalidDataError(_misfit(masks, outcomes, f"{expected[1]} test examples"))
    lds = {ridge: float(np.nanmean(lds_per_test(each, outcomes))) for ridge, each in predicted.items()}
    chosen = best(lds, next(iter(lds)))
    slope = calibration_slope(predicted[chosen], outcomes)
    if not math.isfinite(slope) or slope <= 0:
        raise InvalidDataError(
            f"the slope of actual against predicted changes is {slope:.3g} at the best ridge, {chosen:g}: these "
            f"{len(masks)} subsets cannot tell the scale of the scores. Give more subsets."
        )
    return Calibration(chosen, slope, lds, lds[chosen])


def _misfit(masks: Any, outcomes: Any, what: str) -> str:
    return (
        f"masks {masks.shape} and outcomes {outcomes.shape} do not fit {what}; give masks [n_subsets, n_train] and "
        "outcomes [n_subsets, n_test]."
    )
