"""Is it true? Predicted outcomes against models that were really retrained."""

from trak_core.evidence.calibration import calibration_slope
from trak_core.evidence.cost import Cost, measured_cost
from trak_core.evidence.lds import (
    MIN_SUBSETS,
    LdsEvidence,
    lds_interval,
    lds_per_test,
    measure_lds,
    noise_ceiling,
    noise_ceiling_per_test,
    predicted_outcomes,
)
from trak_core.evidence.ranks import row_correlations
from trak_core.evidence.removal import (
    Removal,
    choose_tests,
    compare_removals,
    midpoints,
    summarize_removal,
)
from trak_core.evidence.split import tuning_tests
from trak_core.evidence.trust import trust_level

__all__ = [
    "MIN_SUBSETS",
    "Cost",
    "LdsEvidence",
    "Removal",
    "calibration_slope",
    "choose_tests",
    "compare_removals",
    "lds_interval",
    "lds_per_test",
    "measure_lds",
    "measured_cost",
    "midpoints",
    "noise_ceiling",
    "noise_ceiling_per_test",
    "predicted_outcomes",
    "row_correlations",
    "summarize_removal",
    "trust_level",
    "tuning_tests",
]
