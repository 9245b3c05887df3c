"""The subject of a run that is there: from its recipe, or, for own data, from what the run itself holds.

The labels are those that the run's models were trained on, wrong ones that were planted included.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from trak_core.errors import NeedNotMetError, NotInRunError, RunMismatchError, StoreDamagedError, TrakCoreError
from trak_core.store.places import facts_here
from trak_core.store.run import Run
from trak_core.subjects.custom_data import OWN_DATA, own_subject
from trak_core.subjects.models_by_name import find_model, model_is_here
from trak_core.subjects.planting import plant_in
from trak_core.subjects.recipe import Recipe, Subject
from trak_core.subjects.registry import RECIPES

if TYPE_CHECKING:
    from trak_core.datasets import Dataset

__all__ = ["can_be_made_again", "read_dataset", "read_subject"]


def can_be_made_again(run: Run) -> bool:
    """True when models like those of the run can be trained: by its recipe, or by its own data and a model here.

    Quick, and runs nothing that the run names.
    """
    return str(run.info.recipe) in RECIPES or _is_own(facts_here(run))


def _is_own(made: dict[str, Any]) -> bool:
    name, weights, sources = made.get("model", ""), made.get("weights", ""), made.get("sources", {})
    # A run from elsewhere may say anything, of any type.
    if not (isinstance(name, str) and isinstance(weights, str) and isinstance(sources, dict)):
        return False
    return made.get("recipe") in OWN_DATA and model_is_here(name, weights, sources)


def read_subject(run: Run) -> Subject:
    """The subject of a run.

    Raises:
        NotInRunError: nothing tells how the run's models were trained.
        StoreDamagedError: the examples that it holds cannot be read.
    """
    made = facts_here(run)
    if str(made["recipe"]) in RECIPES:
        subject = _load(RECIPES[made["recipe"]])
        dataset, _ = plant_in(
            subject.dataset, made.get("flip_labels", 0.0), made.get("flip_kind", "uniform"), made["seed"]
        )
        return replace(subject, dataset=dataset)
    if not _is_own(made):
        why = (
            f"its model {run.info.provenance['model']!r} is not here, or not as it was"
            if made.get("recipe") in OWN_DATA and made.get("model")
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
    return own_subject(read_dataset(run), model)


@lru_cache(maxsize=4)
def _load(recipe: Recipe) -> Subject:
    return recipe.load()


def read_dataset(run: Run) -> Dataset:
    """The data set that a run of own data holds, exactly as its models were given it.

    Raises:
        NeedNotMetError: the tokenizer of its model is not here.
        StoreDamagedError: its examples cannot be read.
    """
    from trak_core.datasets import Dataset, Pixels, Split, read_encoding, read_thumbnails

    encoding = read_encoding(facts_here(run))
    if encoding is None or isinstance(encoding, Pixels) != (run.info.modality == "image"):
        raise StoreDamagedError(
            f"run {run.info.name!r} does not tell how its {run.info.modality}s become inputs; build it again from its "
            "data."
        )

    def split(name: str) -> Split:
        rows = run.rows("SELECT label, text, thumbnail FROM examples WHERE split = ? ORDER BY idx", [name])
        labels = np.array([label for label, _, _ in rows], dtype=np.int64)
        shown = [content for _, text, thumbnail in rows if (content := text if thumbnail is None else thumbnail)]
        if len(shown) != len(rows):
            raise StoreDamagedError(
                f"run {run.info.name!r} holds the content of {len(shown):,} of its {len(rows):,} {name} examples; "
                "build it again from its data."
            )
        try:
            if isinstance(encoding, Pixels):
                return Split(read_thumbnails(shown, encoding), labels, thumbnails=shown)
            return Split(encoding.inputs(shown), labels, texts=shown)
        except NeedNotMetError:
            raise
        except Exception as error:  # a run from elsewhere may hold anything, and readers stumble in many ways
            told = str(error).rstrip(".") if isinstance(error, TrakCoreError) else type(error).__name__
            raise StoreDamagedError(
                f"run {run.info.name!r} holds {name} examples that cannot be turned into inputs "
                f"({told}); build it again from its data."
            ) from error

    info = run.info
    return Dataset(
        info.title,
        "image" if info.modality == "image" else "text",
        info.class_names,
        split("train"),
        split("test"),
        encoding,
    )
