"""The evidence that a run holds: its LDS, and the outcomes of retraining that it was measured on."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import NotInRunError
from trak_core.store.ledger import read_masks, read_outcomes
from trak_core.store.run_info import RunWithInfo


@dataclass(frozen=True)
class Lds:
    """The linear datamodeling score of a method, over the run's reporting subsets."""

    mean: float  # over test examples
    ci_low: float  # lower end of the 95% bootstrap interval of the mean
    ci_high: float  # upper end
    noise_ceiling: float  # the highest mean LDS that any method can reach against this ledger
    per_test: NDArray[np.float64]  # `[n_test]`, NaN where undefined
    n_subsets: int  # that it is measured over
    n_seeds: int  # models retrained on each


def read_lds(run: RunWithInfo, method: str | None = None) -> Lds:
    """The LDS of a method with all checkpoints.

    Raises:
        NotInRunError: the run has no such method, or no evidence yet.
    """
    method = run.check_method(method)
    summary = run.rows(
        "SELECT lds, ci_low, ci_high, noise_ceiling, n_subsets, n_seeds FROM lds_summary "
        "WHERE method = ? ORDER BY n_checkpoints DESC LIMIT 1",
        [method],
    )
    if not summary:
        raise NotInRunError(
            f"run {run.info.name!r} has no LDS for method {method!r} yet; it joins when its build has finished."
        )
    per_test = run.columns("SELECT lds FROM lds WHERE method = ? ORDER BY test_idx", [method])["lds"]
    lds, low, high, ceiling = (math.nan if value is None else float(value) for value in summary[0][:4])
    n_subsets, n_seeds = summary[0][4:]
    return Lds(lds, low, high, ceiling, np.ma.filled(per_test.astype(np.float64), np.nan), n_subsets, n_seeds)


def subset_masks(run: RunWithInfo, role: str) -> NDArray[np.bool_]:
    """Subsets of a role ("fit" or "eval"), bool `[n_subsets, n_train]`, by subset_id."""
    return read_masks(run, role, run.info.n_train)


def outcomes(run: RunWithInfo, role: str) -> NDArray[np.float64]:
    """Model outputs of default targets after retraining: `[n_subsets, n_seeds, n_test]`, by subset_id and seed."""
    return read_outcomes(run, role, run.info.provenance["n_seeds"], run.info.n_test)


def mean_outcomes(run: RunWithInfo, role: str) -> NDArray[np.float64]:
    """The same, averaged over seeds: `[n_subsets, n_test]`, by subset_id."""
    return np.asarray(outcomes(run, role).mean(1))


def reported_tests(run: RunWithInfo) -> NDArray[np.bool_]:
    """Test examples that summaries are over, bool `[n_test]`; settings were chosen on the others."""
    reported = np.ones(run.info.n_test, dtype=bool)
    reported[run.info.provenance.get("tuning_tests", [])] = False
    return reported
