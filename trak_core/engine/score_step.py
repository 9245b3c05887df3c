"""Scores of a build: TRAK for every target, in the unit of the model output where that can be told, and baselines."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.engine.ledger import RunLedger
from trak_core.engine.scoring import (
    Scored,
    Tables,
    calibration_factor,
    checkpoint_prediction_columns,
    joined_tables,
)
from trak_core.inputs import take
from trak_core.methods import CHECKPOINT_COUNTS, METHODS, Examples, MethodContext, Scores, fit_targets
from trak_core.store.run_tables import target_score_columns
from trak_core.tasks import Targets

BASELINES = ("embedding", "same_class", "random")


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
    factor, of_others = None, None
    if len(fit_masks := ledger.masks("fit")):
        calibrated_on = tuning if tuning.any() else ~tuning
        rows, used, outcomes = np.flatnonzero(calibrated_on), calibrated_on[of_test], _outcomes(ledger, targets)
        # Two factors: what moves the label's margin and what moves another class's differ in scale.
        factor = calibration_factor(trak.values[rows], fit_masks, outcomes[:, rows, default[rows]])
        if used.any():
            of_others = calibration_factor(values[used], fit_masks, outcomes[:, of_test[used], of_target[used]])
    baselines = [name for name in BASELINES if not context.missing(METHODS[name].info.needs)]
    of_methods = [trak.tables(default, fingerprint_of("trak"), factor)]
    of_methods += [Scored.by(name, context).tables(default, fingerprint_of(name)) for name in baselines]
    by_count = {**trak.by_fewer(CHECKPOINT_COUNTS), trak.scores.n_checkpoints: trak.values}
    tables = {
        **joined_tables(of_methods),
        "target_scores": target_score_columns(
            "trak", of_test, of_target + targets.first, values * np.float32(of_others or 1)
        ),
        "checkpoint_predictions": checkpoint_prediction_columns(by_count, masks),
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
