"""The ledger of a published run as arrays."""

import numpy as np
from numpy.typing import NDArray

from trak_core.store.ledger import read_masks, read_outcomes
from trak_core.store.run import Run


def subset_masks(run: Run, role: str) -> NDArray[np.bool_]:
    """Subsets of a role ("fit" or "eval"), bool `[n_subsets, n_train]`, by subset_id."""
    return read_masks(run, role, run.info.n_train)


def outcomes(run: Run, role: str) -> NDArray[np.float64]:
    """Model outputs of default targets after retraining: `[n_subsets, n_seeds, n_test]`, by subset_id and seed."""
    return read_outcomes(run, role, run.info.provenance["n_seeds"], run.info.n_test)


def reported_tests(run: Run) -> NDArray[np.bool_]:
    """Test examples that summaries are over, bool `[n_test]`; settings were chosen on the others."""
    reported = np.ones(run.info.n_test, dtype=bool)
    reported[run.info.provenance.get("tuning_tests", [])] = False
    return reported
