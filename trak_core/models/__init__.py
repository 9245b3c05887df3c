"""Ready models for people's own data."""

from trak_core.models.ready import READY_MODELS, ReadyModel, find_model

__all__ = ["READY_MODELS", "ReadyModel", "find_model"]
