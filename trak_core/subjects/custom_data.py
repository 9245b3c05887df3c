"""Recipes of custom data: what a reader gave, with a ready model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trak_core.modalities import ReadyModel, find_modality
from trak_core.subjects.models_by_name import find_model, ready_models
from trak_core.subjects.subject import Recipe, Subject

if TYPE_CHECKING:
    from torch import nn

    from trak_core.modalities import Dataset
    from trak_core.training import FineTuning, TrainingSettings

MAX_MINUTES = 7 * 24 * 60
"""That a build of custom data may be given."""
MOMENTUM = 0.9


def custom_recipe(
    kind: str,
    dataset: Dataset,
    model: str | ReadyModel,
    metadata: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe that builds a run of custom data. It holds its data, so that it can be trained again from itself.

    The kind of the data, one of `DATA_KINDS`, stands in the place of a recipe's name. The data set is made ready for
    the model, which is given itself or by a name of `find_model`; `training` is as in `custom_subject`.
    """
    ready = find_model(model, dataset.modality) if isinstance(model, str) else model
    plural, n_classes = find_modality(dataset.modality).plural, len(dataset.class_names)
    sources = {"weights": ready.weights, "sources": dict(ready.sources)} if ready.sources else {}
    return Recipe(
        name=kind,
        title=dataset.name,
        description=f"{len(dataset.train):,} training and {len(dataset.test):,} test {plural}"
        f"{f' in {n_classes} classes' if n_classes else ''}, and {ready.title}.",
        load=lambda: custom_subject(dataset, ready, training),
        n_checkpoints=10,
        proj_dim=128,
        n_subsets=100,
        n_seeds=4,
        model=ready.name,
        metadata={**(metadata or {}), **sources},
    )


def custom_subject(dataset: Dataset, model: ReadyModel, kept: Mapping[str, Any] | None = None) -> Subject:
    """The subject of custom data with a model.

    `kept` are the settings of training by name, as a run keeps them; without them they are the usual ones of the model.

    Raises:
        InvalidModelError: a model that is not a ready one cannot be trained or attributed here.
        CheckpointMismatchError: the weights that it should begin from do not fit.
    """
    import numpy as np
    import torch

    from trak_core.tasks import find_task, label_task
    from trak_core.training import FineTuning, TrainingSettings

    n_classes = len(dataset.class_names)
    task = find_task(model.task) if model.task else label_task(dataset.modality)
    sizes = {**(dataset.encoding.sizes() if dataset.encoding else {}), "n_classes": n_classes}

    def make_model() -> nn.Module:
        return model.make(sizes)

    if model.task:
        from trak_core.subjects.trial import try_tokens

        try_tokens(model.name, make_model(), dataset.train.inputs)
        for name, split in (("train", dataset.train), ("test", dataset.test)):
            task.check_labels(torch.from_numpy(np.asarray(split.labels)), f"{name} ")
    elif model.weights or model.name not in ready_models():  # what is known to train here need not be tried
        from trak_core.subjects.trial import try_model

        try_model(model.name, make_model, dataset.train.inputs, dataset.train.labels, n_classes, task)
    how, training = model.trained, _kept_training(kept)
    if training is None:
        # Small train sets: half of one still has to fill a batch, twice at least.
        batch = max(1, min(how.batch_size, len(dataset.train) // 4))
        training = (
            FineTuning(how.epochs, batch, how.learning_rate, how.weight_decay)
            if model.task
            else TrainingSettings(how.epochs, batch, how.learning_rate, MOMENTUM, how.weight_decay)
        )
    return Subject(dataset=dataset, make_model=make_model, task=task, training=training, sources=model.sources)


def _kept_training(kept: Mapping[str, Any] | None) -> TrainingSettings | FineTuning | None:
    """The settings of training that a run keeps, by whichever optimizer."""
    from trak_core.training import FineTuning, TrainingSettings

    if not kept:
        return None
    return FineTuning.from_facts(kept) if FineTuning.are_kept_in(kept) else TrainingSettings.from_facts(kept)
