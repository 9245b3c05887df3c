"""Builds a run: leads a recipe through training, gradients, methods and evidence into the store."""

from trak_core.building.build import build_run
from trak_core.building.map_run import map_run
from trak_core.building.measure import measure_run
from trak_core.building.measure_settings import MeasureSettings
from trak_core.building.settings import BuildSettings

__all__ = ["BuildSettings", "MeasureSettings", "build_run", "map_run", "measure_run"]
