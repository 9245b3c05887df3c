"""Attribution of any PyTorch model, from a script or a notebook."""

from trak_core.attribution.attributor import Attributor
from trak_core.attribution.calibration import Calibration
from trak_core.attribution.plan import Plan

__all__ = ["Attributor", "Calibration", "Plan"]
