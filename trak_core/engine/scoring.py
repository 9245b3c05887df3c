"""Runs a method and makes rows of the store of its scores: one way for builds and for measurements."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.engine.method_context import lds_tuning
from trak_core.engine.working_run import RunLedger
from trak_core.errors import InvalidModelError, NonFiniteGradientError, OutOfMemoryError, SingularKernelError, in_words
from trak_core.evidence.cost import Cost, measured_cost
from trak_core.evidence.lds import MIN_SUBSETS, calibration_slope, predicted_outcomes
from trak_core.inputs import take
from trak_core.methods import CHECKPOINT_COUNTS, METHODS, Examples, MethodContext, MethodInfo, Scores, fit_targets
from trak_core.store.run_tables import (
    class_influence_columns,
    joined,
    method_columns,
    score_tables,
    self_influence_columns,
    target_score_columns,
)
from trak_core.tasks import Targets

BASELINES = ("bm25", "embedding", "random", *(name for name, method in METHODS.items() if method.info.is_control))
"""Of a build, besides TRAK: all controls among them, so that every board has these."""
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
        """The scores of a method, whose needs are met, by its own `fit` or by another.

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
        own, wrong = scores.self_influence(), ~np.isfinite(values).all(1)
        if wrong.any() or (own is not None and not own.isfinite().all()):
            raise NonFiniteGradientError(
                f"method {name!r} gives scores that are not finite for {wrong.sum()} of {len(values)} test examples, "
                "so that none are kept; training was unstable: lower the learning rate of the recipe."
            )
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
            calibration: the factor that brings them to the unit of the model output.
            settings: whether to tell what the method chose.
        """
        info, name, factor = self.info, self.info.name, np.float32(calibration or 1)
        values, error, own = self.values * factor, self.scores.standard_error(slice(None)), self.scores.self_influence()
        errors = None if error is None else error.float().cpu().numpy() * factor
        tables: Tables = {
            "methods": method_columns(
                name,
                info.title,
                info.description,
                fingerprint,
                is_baseline=info.is_baseline,
                is_control=info.is_control,
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


def score_run(
    context: MethodContext,
    targets: Targets,
    ledger: RunLedger,
    masks: NDArray[np.bool_],
    tuning: NDArray[np.bool_],
    fingerprint_of: Callable[[str], str],
    on_checkpoint: Callable[[], None],
) -> tuple[Tables, dict[str, Any]]:
    """Rows of every table that holds scores, and what provenance tells of them.

    Args:
        context: with the ridge that was chosen, and no tuning.
        targets: of the test examples.
        ledger: with the outcomes of the fitting subsets, on which scores are calibrated; without any, they are not.
        masks: all subsets of the ledger, bool `[n_subsets, n_train]`.
        tuning: test examples to calibrate on, bool `[n_test]`; where there are none, all are.
        fingerprint_of: gives that of a method's scores.
        on_checkpoint: called after every checkpoint.
    """
    test_idx, place = torch.nonzero(~targets.is_default, as_tuple=True)
    further = Examples(take(context.test.inputs, test_idx), targets.every[test_idx, place])
    of_further: list[NDArray[np.float32]] = []

    def fit(context: MethodContext) -> Scores:
        scores, found = fit_targets(context, further, on_checkpoint)
        of_further.append(found.float().cpu().numpy())
        return scores

    trak, values = Scored.by("trak", context, fit), of_further[0]
    of_test, of_target = test_idx.cpu().numpy(), place.cpu().numpy()
    default = targets.default.cpu().numpy()
    factor, of_others, tuning_of_controls = None, None, None
    if len(fit_masks := ledger.masks("fit")):
        calibrated_on = tuning if tuning.any() else ~tuning
        rows, used, outcomes = np.flatnonzero(calibrated_on), calibrated_on[of_test], _outcomes(ledger, targets)
        means, device = ledger.outcomes("fit").mean(1), str(context.train.device)
        if len(fit_masks) >= MIN_SUBSETS:
            tuning_of_controls = lds_tuning(fit_masks, means, device, calibrated_on)
        # Two factors: what moves the label's margin and what moves another class's differ in scale.
        factor = calibration_factor(trak.values[rows], fit_masks, outcomes[:, rows, default[rows]])
        if used.any():
            of_others = calibration_factor(values[used], fit_masks, outcomes[:, of_test[used], of_target[used]])
    baselines = [name for name in BASELINES if not context.missing(METHODS[name].info.needs)]
    of_methods = [trak.tables(default, fingerprint_of("trak"), factor)]
    tuned = replace(context, tuning=tuning_of_controls)
    of_methods += [Scored.by(name, tuned).tables(default, fingerprint_of(name)) for name in baselines]
    by_count = {**trak.by_fewer(CHECKPOINT_COUNTS), trak.scores.n_checkpoints: trak.values}
    tables = {
        **joined_tables(of_methods),
        "target_scores": target_score_columns(
            "trak", of_test, of_target + targets.first, values * np.float32(of_others or 1)
        ),
        "checkpoint_predictions": _checkpoint_predictions(by_count, masks),
    }
    return tables, {
        "calibration": factor,
        "calibration_of_other_targets": of_others,
        "gradients": context.gradients.path,
        "kernel": "exact, dual" if context.proj_dim is None else f"projected to {context.proj_dim:,}, primal",
    }


def _outcomes(ledger: RunLedger, targets: Targets) -> NDArray[np.float64]:
    """Model outputs of the fitting subsets at every place of the targets `[n_fit, n_test, n_targets]`."""
    default: NDArray[np.float64] = ledger.outcomes("fit").mean(1)[..., None]
    if not targets.has_further:
        return default
    further: NDArray[np.float64] = ledger.target_outcomes("fit").mean(1)
    # A default target that is none of the further ones has a place of its own before them.
    return np.concatenate([default, further], axis=-1) if targets.first == 0 else further


def _checkpoint_predictions(by_count: dict[int, NDArray[np.float32]], masks: NDArray[np.bool_]) -> dict[str, Any]:
    """Columns of the table `checkpoint_predictions`.

    Args:
        by_count: number of checkpoints to the scores of the first so many `[n_test, n_train]`.
        masks: of all subsets, bool `[n_subsets, n_train]`.
    """
    predicted = np.stack([predicted_outcomes(scores, masks) for scores in by_count.values()])
    count, subset_id, test_idx = (index.reshape(-1) for index in np.indices(predicted.shape))
    n_checkpoints = np.array(list(by_count))[count]
    columns = {"n_checkpoints": n_checkpoints, "subset_id": subset_id, "test_idx": test_idx}
    return {**columns, "predicted": predicted.reshape(-1)}


def calibration_factor(
    scores: NDArray[np.float32], masks: NDArray[np.bool_], outcomes: NDArray[np.float64]
) -> float | None:
    """The factor that brings scores to the unit of the model output.

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
def own_errors(method: str, advice: str = "leave it out of the methods") -> Iterator[None]:
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
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        raise InvalidModelError(
            f"method {method!r} cannot trace the model or its task ({in_words(error)}): write them with torch "
            f"operations that look at no values, without .item(), `if` on numbers or one_hot."
        ) from error
