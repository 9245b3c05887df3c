"""Models for people's own data: ready ones, those of libraries by name, and people's own."""

from trak_core.models.finding import find_model, model_is_here
from trak_core.models.ready import READY_MODELS, ReadyModel
from trak_core.models.start import read_weights

__all__ = ["READY_MODELS", "ReadyModel", "find_model", "model_is_here", "read_weights"]
