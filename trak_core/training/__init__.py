"""Trains checkpoints and subset models, many at once, and draws the subsets of the ledger."""

from trak_core.training.ensemble import Ensemble
from trak_core.training.subsets import draw_half_subsets
from trak_core.training.trainer import TrainingSettings, train_ensemble

__all__ = ["Ensemble", "TrainingSettings", "draw_half_subsets", "train_ensemble"]
