"""Builds a run: leads a recipe through training, gradients, methods and evidence into the store."""

from trak_core.building.build import build_run
from trak_core.building.settings import BuildSettings

__all__ = ["BuildSettings", "build_run"]
