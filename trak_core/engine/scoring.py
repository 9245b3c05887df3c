"""Runs a method and makes rows of the store of its scores: one way for builds and for measurements."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.errors import NonFiniteGradientError, OutOfMemoryError, SingularKernelError
from trak_core.evidence import Cost, calibration_slope, measured_cost, predicted_outcomes
from trak_core.methods import METHODS, MethodContext, MethodInfo, Scores
from trak_core.store.run_tables import (
    class_influence_columns,
    joined,
    method_columns,
    score_tables,
    self_influence_columns,
)

Tables = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Scored:
    """What a method gave, and what it cost."""

    info: MethodInfo  # of the method
    scores: Scores  # as the method gave them
    values: NDArray[np.float32]  # the scores `[n_test, n_train]`, without calibration
    cost: Cost  # of the scores

    @classmethod
    def by(cls, name: str, context: MethodContext, fit: Callable[[MethodContext], Scores] | None = None) -> "Scored":
        """The scores of a method, whose needs are met.

        Args:
            name: of the method.
            context: of the run; the method takes as many checkpoints as it averages over.
            fit: what is done in place of the method's own `fit`.

        Raises:
            OutOfMemoryError: the method needs more memory than there is.
            SingularKernelError: its equations have no solution.
            NonFiniteGradientError: its scores are not finite.
        """
        method = METHODS[name]
        limit = method.info.max_checkpoints
        with measured_cost() as cost, own_errors(name):
            scores = (fit or method.fit)(context if limit is None else context.first(limit))
            values = _dense(scores)
        _check_finite(name, scores, values)
        return cls(method.info, scores, values, cost)

    def by_fewer(self, counts: tuple[int, ...]) -> dict[int, NDArray[np.float32]]:
        """Scores by the first checkpoints alone, for those of some numbers of them that are smaller than all."""
        return {n: _dense(self.scores.first(n)) for n in counts if n < self.scores.n_checkpoints}

    def tables(
        self,
        test_classes: NDArray[np.int64],
        fingerprint: str,
        calibration: float | None = None,
        settings: bool = False,
    ) -> Tables:
        """Rows of every table that holds scores.

        Args:
            test_classes: classes of the test examples `[n_test]`, over which influence is summed up.
            fingerprint: of what the scores were made from.
            calibration: the factor that brings them to the unit of the model output; None where there is none.
            settings: whether to tell what the method chose.
        """
        name, factor = self.info.name, np.float32(calibration or 1)
        values, error, own = self.values * factor, self.scores.standard_error(slice(None)), self.scores.self_influence()
        errors = None if error is None else error.float().cpu().numpy() * factor
        tables: Tables = {
            "methods": method_columns(
                name,
                self.info.title,
                self.info.description,
                fingerprint,
                is_baseline=self.info.is_baseline,
                seconds=self.cost.seconds,
                calibration=calibration,
                settings=self.scores.settings if settings else None,
            ),
            **score_tables(name, values, errors=errors),
            "class_influence": class_influence_columns(name, test_classes, values.__getitem__),
        }
        if own is not None:
            tables["self_influence"] = self_influence_columns(name, own.double().cpu().numpy())
        return tables


def joined_tables(of_each: list[Tables]) -> Tables:
    """The tables of several methods as one; a method may lack some."""
    names = dict.fromkeys(table for tables in of_each for table in tables)
    return {name: joined([tables[name] for tables in of_each if name in tables]) for name in names}


def checkpoint_prediction_columns(
    by_count: dict[int, NDArray[np.float32]], masks: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Columns of the table `checkpoint_predictions`.

    Args:
        by_count: number of checkpoints to the scores of the first so many `[n_test, n_train]`.
        masks: of all subsets, bool `[n_subsets, n_train]`.
    """
    predicted = [predicted_outcomes(scores, masks) for scores in by_count.values()]
    n_subsets, n_test = predicted[0].shape
    return {
        "n_checkpoints": np.repeat(list(by_count), n_subsets * n_test),
        "subset_id": np.tile(np.repeat(np.arange(n_subsets), n_test), len(predicted)),
        "test_idx": np.tile(np.arange(n_test), len(predicted) * n_subsets),
        "predicted": np.concatenate([values.reshape(-1) for values in predicted]),
    }


def calibration_factor(
    scores: NDArray[np.float32], masks: NDArray[np.bool_], outcomes: NDArray[np.float64]
) -> float | None:
    """The factor that brings scores to the unit of the model output; None where it cannot be told.

    It is None where the slope is undefined, or would turn every explanation round.

    Args:
        scores: of the questions to calibrate on `[m, n_train]`.
        masks: of the fitting subsets, bool `[n_subsets, n_train]`.
        outcomes: mean model outputs after retraining `[n_subsets, m]`.
    """
    slope = calibration_slope(predicted_outcomes(scores, masks), outcomes)
    return slope if math.isfinite(slope) and slope > 0 else None


def _dense(scores: Scores) -> NDArray[np.float32]:
    return np.concatenate([block.float().cpu().numpy() for block in scores.blocks()])


@contextmanager
def own_errors(method: str, advice: str = "leave it out with --method") -> Iterator[None]:
    """Turns what linear algebra and memory say into one sentence, so that one method cannot stop all the others."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(f"method {method!r} needs more memory than there is; {advice}.") from error
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise SingularKernelError(
            f"method {method!r} cannot solve its equations ({str(error).splitlines()[0]}); train with weight decay, or "
            f"{advice}."
        ) from error


def _check_finite(method: str, scores: Scores, dense: NDArray[np.float32]) -> None:
    own = scores.self_influence()
    wrong = ~np.isfinite(dense).all(1)
    if wrong.any() or (own is not None and not own.isfinite().all()):
        raise NonFiniteGradientError(
            f"method {method!r} gives scores that are not finite for {wrong.sum()} of {len(dense)} test examples, so "
            "that none are kept; training was unstable: lower the learning rate of the recipe."
        )
