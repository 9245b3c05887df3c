"""Is it true? Predicted outcomes against models that were really retrained."""

from trak_core.evidence.calibration import calibration_slope
from trak_core.evidence.lds import (
    LdsEvidence,
    lds_interval,
    lds_per_test,
    measure_lds,
    noise_ceiling,
    noise_ceiling_per_test,
    predicted_outcomes,
)
from trak_core.evidence.trust import trust_level

__all__ = [
    "LdsEvidence",
    "calibration_slope",
    "lds_interval",
    "lds_per_test",
    "measure_lds",
    "noise_ceiling",
    "noise_ceiling_per_test",
    "predicted_outcomes",
    "trust_level",
]
