"""Recipes of people's own data: what a reader gave, with a ready model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trak_core.models.ready import ReadyModel, find_model
from trak_core.recipes.recipe import Recipe, Subject

if TYPE_CHECKING:
    from torch import nn

    from trak_core.datasets import Dataset

__all__ = ["OWN_DATA", "own_recipe", "own_subject"]

OWN_DATA = ("image-folder", "image-arrays", "table", "hf-dataset")
"""The kinds of own data, each in the place of a recipe's name. A run of them holds its data, so that it needs no more
than itself to be trained again."""


def own_recipe(kind: str, dataset: Dataset, model: str) -> Recipe:
    """The recipe that builds a run of own data.

    Args:
        kind: one of `OWN_DATA`.
        dataset: made ready for the model.
        model: the name of a ready model for data of this kind.

    Raises:
        InvalidSettingError: there is no such model.
    """
    ready = find_model(model, dataset.modality)
    return Recipe(
        name=kind,
        title=dataset.name,
        description=f"{len(dataset.train):,} training and {len(dataset.test):,} test {dataset.modality}s in "
        f"{len(dataset.class_names)} classes, and {ready.title}.",
        load=lambda: own_subject(dataset, ready),
        n_checkpoints=10,
        proj_dim=128,
        n_subsets=100,
        n_seeds=4,
        model=model,
    )


def own_subject(dataset: Dataset, model: ReadyModel) -> Subject:
    """The subject of own data with a ready model, whose settings follow from the number of train examples."""
    from trak_core.datasets import Tokens
    from trak_core.tasks import Classification

    shape = dataset.train.inputs.shape[1:]
    n_tokens = dataset.encoding.n_tokens if isinstance(dataset.encoding, Tokens) else 0
    n_classes = len(dataset.class_names)

    def make_model() -> nn.Module:
        return model.make(shape, n_tokens, n_classes)

    return Subject(
        dataset=dataset,
        make_model=make_model,
        task=Classification(dataset.modality),
        training=model.settings(len(dataset.train)),
    )
