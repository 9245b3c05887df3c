"""Which test examples settings are chosen on, and which ones anything is reported on: never the same."""

import numpy as np
from numpy.typing import NDArray

from trak_core.seeds import derive_seed

TUNING_SHARE = 0.25


def tuning_tests(n_test: int, seed: int) -> NDArray[np.bool_]:
    """Bool `[n_test]`: a random quarter of the test examples, for choosing settings; none where there are under 8."""
    chosen = np.zeros(n_test, dtype=bool)
    n_tuning = round(TUNING_SHARE * n_test) if n_test >= 8 else 0
    order = np.random.default_rng(derive_seed(seed, "tuning tests")).permutation(n_test)
    chosen[order[:n_tuning]] = True
    return chosen
