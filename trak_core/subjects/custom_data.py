"""Recipes of people's own data: what a reader gave, with a ready model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trak_core.subjects.models_by_name import find_model
from trak_core.subjects.ready_model import ReadyModel
from trak_core.subjects.recipe import Recipe
from trak_core.subjects.subject import Subject

if TYPE_CHECKING:
    from torch import nn

    from trak_core.datasets import Dataset

__all__ = ["MAX_MINUTES", "OWN_DATA", "own_recipe", "own_subject"]

MAX_MINUTES = 7 * 24 * 60
"""That a build of own data may be given."""
OWN_DATA = ("image-folder", "image-arrays", "table", "hf-dataset")
"""The kinds of own data, each in the place of a recipe's name. A run of them holds its data, so that it needs no more
than itself to be trained again."""


def own_recipe(kind: str, dataset: Dataset, model: str | ReadyModel, facts: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe that builds a run of own data.

    Args:
        kind: one of `OWN_DATA`.
        dataset: made ready for the model.
        model: of `find_model`, or its name.
        facts: for provenance, as `Recipe` has them.

    Raises:
        InvalidSettingError: there is no such model.
    """
    ready = find_model(model, dataset.modality) if isinstance(model, str) else model
    sources = {"weights": ready.weights, "sources": dict(ready.sources)} if ready.sources else {}
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
        model=ready.name,
        facts={**(facts or {}), **sources},
    )


def own_subject(dataset: Dataset, model: ReadyModel) -> Subject:
    """The subject of own data with a model, whose settings follow from the number of train examples.

    Raises:
        InvalidModelError: a model that is not a ready one cannot be trained or attributed here.
        CheckpointMismatchError: the weights that it should begin from do not fit.
    """
    from trak_core.datasets import Tokens
    from trak_core.tasks import Classification

    shape = dataset.train.inputs.shape[1:]
    n_tokens = dataset.encoding.n_tokens if isinstance(dataset.encoding, Tokens) else 0
    n_classes = len(dataset.class_names)

    def make_model() -> nn.Module:
        return model.make(shape, n_tokens, n_classes)

    if not model.is_ready:
        from trak_core.subjects.trial import try_model

        try_model(model.name, make_model, dataset.train.inputs, dataset.train.labels, n_classes)
    return Subject(
        dataset=dataset,
        make_model=make_model,
        task=Classification(dataset.modality),
        training=model.settings(len(dataset.train)),
        sources=model.sources,
    )
