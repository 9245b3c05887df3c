"""Chooses the ridge and the scale of scores by models retrained on subsets."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.evidence import calibration_slope, lds_per_test, predicted_outcomes

__all__ = ["Calibration", "calibrate"]


@dataclass(frozen=True)
class Calibration:
    """What retrained models say of the scores.

    Attributes:
        ridge: with the highest LDS.
        factor: that brings scores to the unit of the model output, the slope of actual against predicted changes.
        lds_by_ridge: mean LDS of every candidate on the subsets given.
    """

    ridge: float
    factor: float
    lds_by_ridge: dict[float, float]


def calibrate(blocks: Iterator[list[Tensor]], ridges: Sequence[float], masks: Any, outcomes: Any) -> Calibration:
    """The ridge and factor that suit the outcomes best.

    Args:
        blocks: uncalibrated scores `[n_block, n_train]` of each ridge, for test examples in order.
        ridges: candidates.
        masks: bool `[n_subsets, n_train]`.
        outcomes: `[n_subsets, n_test]`.

    Raises:
        InvalidDataError: masks and outcomes do not fit together, or tell nothing.
        InvalidSettingError: there is no candidate.
    """
    if not ridges:
        raise InvalidSettingError("ridges holds no candidate; give at least one.")
    masks, outcomes = np.asarray(masks), np.asarray(outcomes, dtype=np.float64)
    parts: list[list[Any]] = [[] for _ in ridges]
    for block in blocks:
        for part, scores in zip(parts, block, strict=True):
            if masks.ndim != 2 or masks.shape[1] != scores.shape[1]:
                raise InvalidDataError(_misfit(masks, outcomes, f"{scores.shape[1]} train examples"))
            part.append(predicted_outcomes(scores.cpu().float().numpy(), masks.astype(bool)))
    predicted = [np.concatenate(part, axis=1) for part in parts]  # each [n_subsets, n_test]
    if outcomes.shape != predicted[0].shape:
        raise InvalidDataError(_misfit(masks, outcomes, f"{predicted[0].shape[1]} test examples"))
    lds = [float(np.nanmean(lds_per_test(each, outcomes))) for each in predicted]
    best = int(np.argmax(lds))
    slope = calibration_slope(predicted[best], outcomes)
    if not math.isfinite(slope) or slope <= 0:
        raise InvalidDataError(
            f"the slope of actual against predicted changes is {slope:.3g} at the best ridge, {ridges[best]:g}: these "
            f"{len(masks)} subsets cannot tell the scale of the scores. Give more subsets."
        )
    return Calibration(ridges[best], slope, dict(zip(ridges, lds, strict=True)))


def _misfit(masks: Any, outcomes: Any, what: str) -> str:
    return (
        f"masks {masks.shape} and outcomes {outcomes.shape} do not fit {what}; give masks [n_subsets, n_train] and "
        "outcomes [n_subsets, n_test]."
    )
