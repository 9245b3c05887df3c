"""Leads a subject through training, gradients, methods and evidence: builds, measurements, and `Attributor`."""

from trak_core.engine.attributor import Attributor
from trak_core.engine.build import build_run
from trak_core.engine.calibration import Calibration
from trak_core.engine.doors import build, extend, measure
from trak_core.engine.growth import extend_run
from trak_core.engine.measure import map_run, measure_run
from trak_core.engine.measure_settings import MeasureSettings
from trak_core.engine.plan import Plan
from trak_core.engine.settings import BuildSettings

__all__ = [
    "Attributor",
    "BuildSettings",
    "Calibration",
    "MeasureSettings",
    "Plan",
    "build",
    "build_run",
    "extend",
    "extend_run",
    "map_run",
    "measure",
    "measure_run",
]
