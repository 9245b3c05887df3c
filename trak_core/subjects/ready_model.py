"""The ready models of all modalities, and the training settings of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trak_core.modalities import MODALITIES, ReadyModel

if TYPE_CHECKING:
    from trak_core.training import TrainingSettings

MOMENTUM = 0.9


def ready_models() -> Mapping[str, ReadyModel]:
    """The ready models of all modalities by name."""
    return {model.name: model for modality in MODALITIES.values() for model in modality.models}


def is_known_to_train(model: ReadyModel) -> bool:
    """True for a model that is known to train here; any other has to be tried first."""
    return model.name in ready_models() and not model.weights


def training_of(model: ReadyModel, n_train: int) -> TrainingSettings:
    """How a model is trained on so many examples."""
    from trak_core.training import TrainingSettings

    how = model.trained
    # Small train sets: half of one still has to fill a batch, twice at least.
    batch = max(1, min(how.batch_size, n_train // 4))
    return TrainingSettings(how.epochs, batch, how.learning_rate, MOMENTUM, how.weight_decay)
