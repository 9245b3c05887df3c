"""Trains checkpoints and subset models, many at once, keeps their logs, and draws the subsets of the ledger."""

from trak_core.training.ensemble import Ensemble
from trak_core.training.log import Moment, TrainingLog, recorded_steps
from trak_core.training.schedule import Schedule, TrainingSettings
from trak_core.training.subsets import draw_half_subsets, draw_subsets
from trak_core.training.trainer import (
    Trained,
    diverged,
    sgd_step,
    train_ensemble,
    train_recorded,
    train_reweighted,
)

__all__ = [
    "Ensemble",
    "Moment",
    "Schedule",
    "Trained",
    "TrainingLog",
    "TrainingSettings",
    "diverged",
    "draw_half_subsets",
    "draw_subsets",
    "recorded_steps",
    "sgd_step",
    "train_ensemble",
    "train_recorded",
    "train_reweighted",
]
