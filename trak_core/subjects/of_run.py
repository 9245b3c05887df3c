"""The subject of a run that is there: from its recipe, or, for custom data, from what the run itself holds.

The labels are those that the run's models were trained on, wrong ones that were planted included.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from trak_core.datasets.kinds import DATA_KINDS
from trak_core.errors import NeedNotMetError, NotInRunError, RunMismatchError, StoreDamagedError, TrakCoreError
from trak_core.modalities import MODALITIES, Dataset, NewInputReader, Split, find_modality, read_encoding
from trak_core.store.local_paths import metadata_here
from trak_core.store.media_rows import read_media
from trak_core.store.run import Run
from trak_core.subjects.custom_data import custom_subject
from trak_core.subjects.models_by_name import find_model, model_is_here
from trak_core.subjects.planting import plant_in
from trak_core.subjects.recipe import Recipe, Subject
from trak_core.subjects.registry import RECIPES

if TYPE_CHECKING:
    from trak_core.store.run import Run

__all__ = ["can_be_made_again", "holds_its_data", "new_input_reader", "read_dataset", "read_subject"]


def can_be_made_again(run: Run) -> bool:
    """True when models like those of the run can be trained: by its recipe, or by the data it holds and a model here.

    Quick, and runs nothing that the run names.
    """
    return str(run.info.recipe) in RECIPES or _is_custom(metadata_here(run))


def holds_its_data(run: Run) -> bool:
    """True for a run of custom data."""
    return _is_kind(run.info.recipe)


def new_input_reader(run: Run) -> NewInputReader | None:
    """How new examples for a run are read: as its recipe does it, or as the modality of its examples; else None."""
    recipe = RECIPES.get(str(run.info.recipe))
    if recipe is not None and recipe.new_inputs is not None:
        return recipe.new_inputs
    modality, encoding = MODALITIES.get(run.info.modality), read_encoding(metadata_here(run).get("encoding"))
    return None if modality is None or encoding is None else modality.new_inputs(encoding)


def _is_kind(recipe: object) -> bool:
    return isinstance(recipe, str) and recipe in DATA_KINDS  # a run from elsewhere may say anything, of any type


def _is_custom(made: dict[str, Any]) -> bool:
    name, weights, sources = made.get("model", ""), made.get("weights", ""), made.get("sources", {})
    # A run from elsewhere may say anything, of any type.
    if not (isinstance(name, str) and isinstance(weights, str) and isinstance(sources, dict)):
        return False
    return _is_kind(made.get("recipe")) and model_is_here(name, weights, sources)


def read_subject(run: Run) -> Subject:
    """The subject of a run.

    Raises:
        NotInRunError: nothing tells how the run's models were trained.
        StoreDamagedError: the examples that it holds cannot be read.
    """
    made = metadata_here(run)
    if str(made["recipe"]) in RECIPES:
        subject = _load(RECIPES[made["recipe"]])
        dataset, _ = plant_in(
            subject.dataset, made.get("flip_labels", 0.0), made.get("flip_kind", "uniform"), made["seed"]
        )
        return replace(subject, dataset=dataset)
    if not _is_custom(made):
        why = (
            f"its model {run.info.provenance['model']!r} is not here, or not as it was"
            if _is_kind(made.get("recipe")) and made.get("model")
            else f"it was {run.info.came_about} or built by another version"
        )
        raise NotInRunError(f"run {run.info.name!r}: {why}, so that nothing here tells how its models were trained.")
    model = find_model(made["model"], run.info.modality, made.get("weights", ""))
    if model.sources != made.get("sources", {}):
        changed = [name for name in model.sources if model.sources[name] != made.get("sources", {}).get(name)]
        raise RunMismatchError(
            f"run {run.info.name!r} was built with another model: {', '.join(changed)} of {made['model']} changed "
            "since; put the old one back, or build the run again under another name."
        )
    return custom_subject(read_dataset(run), model)


@lru_cache(maxsize=4)
def _load(recipe: Recipe) -> Subject:
    return recipe.load()


def read_dataset(run: Run) -> Dataset:
    """The data set that a run of custom data holds, exactly as its models were given it.

    Raises:
        NeedNotMetError: the tokenizer of its model is not here.
        StoreDamagedError: its examples cannot be read.
    """
    info = run.info
    encoding = read_encoding(metadata_here(run).get("encoding"))
    modality = find_modality(info.modality)
    if encoding is None:
        raise StoreDamagedError(
            f"run {info.name!r} does not tell how its {modality.plural} become inputs; build it again from its data."
        )

    def split(name: str) -> Split:
        labels = np.array(
            [label for (label,) in run.rows("SELECT label FROM examples WHERE split = ? ORDER BY idx", [name])],
            dtype=np.int64,
        )
        media = list(read_media(run, name).values())
        try:
            return Split.of(encoding.inputs(modality.contents(media, encoding)), labels, media)
        except NeedNotMetError:
            raise
        except Exception as error:  # a run from elsewhere may hold anything, and readers stumble in many ways
            told = str(error).rstrip(".") if isinstance(error, TrakCoreError) else type(error).__name__
            raise StoreDamagedError(
                f"run {info.name!r} holds {name} examples that cannot be turned into inputs ({told}); build it again "
                "from its data."
            ) from error

    return Dataset(info.title, info.modality, info.class_names, split("train"), split("test"), encoding)
