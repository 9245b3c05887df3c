"""Trains checkpoints and subset models, many at once, keeps their logs, and draws the subsets of the ledger."""

from trak_core.training.ensemble import Ensemble
from trak_core.training.fine_tuning import FineTuner, FineTuning
from trak_core.training.log import Log, Moment, TrainingLog, recorded_steps
from trak_core.training.loop_trainer import LoopTrainer, TrainModel
from trak_core.training.schedule import Schedule, TrainingSettings, draw_half_subsets, draw_subsets
from trak_core.training.sizing import Look, Sizing, choose_steps
from trak_core.training.step_log import StepLog
from trak_core.training.trainer import (
    OnShare,
    Trained,
    Trainer,
    VmapTrainer,
    diverged,
    ignore_share,
    removal_weights,
    sgd_step,
    train_ensemble,
    train_recorded,
    train_reweighted,
)

__all__ = [
    "Ensemble",
    "FineTuner",
    "FineTuning",
    "Log",
    "Look",
    "LoopTrainer",
    "Moment",
    "OnShare",
    "Schedule",
    "Sizing",
    "StepLog",
    "TrainModel",
    "Trained",
    "Trainer",
    "TrainingLog",
    "TrainingSettings",
    "VmapTrainer",
    "choose_steps",
    "diverged",
    "draw_half_subsets",
    "draw_subsets",
    "ignore_share",
    "recorded_steps",
    "removal_weights",
    "sgd_step",
    "train_ensemble",
    "train_recorded",
    "train_reweighted",
]
