"""The subject of a run that is there: from its recipe, from somebody's own subject, or from what the run itself holds.

The labels are those that the run's models were trained on, wrong ones that were planted included.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trak_core.datasets.kinds import DATA_KINDS
from trak_core.errors import (
    InvalidSettingError,
    NeedNotMetError,
    NotInRunError,
    RunMismatchError,
    StoreDamagedError,
    TrakCoreError,
    running_own_code,
)
from trak_core.modalities import (
    MODALITIES,
    Dataset,
    NewInputReader,
    Split,
    find_modality,
    read_encoding,
    register_modality,
)
from trak_core.registering import is_of_file
from trak_core.store.local_paths import metadata_here
from trak_core.store.media_rows import read_media
from trak_core.store.run import SAVED, Run
from trak_core.subjects import RECIPES
from trak_core.subjects.custom_data import custom_subject
from trak_core.subjects.models_by_name import find_model, model_is_here
from trak_core.subjects.planting import plant_in
from trak_core.subjects.subject import ONE_FUNCTION, Recipe, Subject
from trak_core.subjects.subject_file import (
    OWN_SUBJECT,
    find_subject,
    is_built_from,
    remember,
    was_read_here,
    why_not_here,
)


def use_subject(run: Run, subject: Subject) -> None:
    """From now on the run finds this subject in this process.

    Raises:
        RunMismatchError: the run was built from another one.
    """
    if not is_built_from(run.info.provenance, subject):
        where = "the subject given" if subject.path is None else subject.path.name
        raise RunMismatchError(
            f"run {run.info.name!r} was built from another subject than {where}, or from it as it was before; give the "
            "one that it was built from, with the same data."
        )
    remember(subject)


def why_no_subject(run: Run) -> str | None:
    """Why data and model of the run are unavailable, to go on from "run 'mine' ..."; None when they are there.

    Quick, and runs nothing that the run names.
    """
    made, recipe = _metadata(run), str(run.info.recipe)
    if recipe in RECIPES:
        asked = RECIPES[recipe].why_not_here
        return None if asked is None else asked()
    if holds_its_data(run) and _has_model(made):
        return None
    if recipe == OWN_SUBJECT:
        return why_not_here(made)
    if holds_its_data(run) and made.get("model"):
        return f"was built with the model {run.info.provenance['model']!r}, which is not here, or not as it was"
    if run.info.recipe != SAVED and not made.get("imported"):
        return f"was {run.info.origin}, which is not here; put it into trak_core.subjects.RECIPES first"
    return f"was {run.info.origin}: its models cannot be retrained here, because nothing tells how they were trained"


def why_not_made_again(run: Run) -> str | None:
    """Why models like those of the run cannot be trained, likewise; None when they can."""
    if run.info.recipe == OWN_SUBJECT and not run.info.provenance.get("training"):
        return f"has a subject that trains no models. {ONE_FUNCTION}"
    return why_no_subject(run)


def new_input_reader(run: Run) -> NewInputReader | None:
    """How new examples for a run are read: as its recipe does it, or as the modality of its examples; else None."""
    recipe = RECIPES.get(str(run.info.recipe))
    if recipe is not None and recipe.new_inputs is not None:
        return recipe.new_inputs
    if file_to_run(run) is not None:
        return None
    modality, encoding = MODALITIES.get(run.info.modality), read_encoding(metadata_here(run).get("encoding"))
    if modality is None or encoding is None:
        return None
    with running_own_code(f"new_inputs() of modality {modality.name!r}", InvalidSettingError):
        return modality.new_inputs(encoding)


def file_to_run(run: Run) -> str | None:
    """Name of the subject file that makes the run's modality known and has not run here yet; None where nothing waits.

    Runs nothing that the run names; `read_subject` does.
    """
    made = _metadata(run)
    if made.get("recipe") != OWN_SUBJECT or not made.get("subject") or was_read_here(made):
        return None
    name = run.info.modality
    is_known = MODALITIES.get(name) is not None and not is_of_file(register_modality, name)
    return None if is_known or why_not_here(made) else Path(made["subject"]).name


def holds_its_data(run: Run) -> bool:
    """True for a run of custom data."""
    recipe = run.info.recipe
    return isinstance(recipe, str) and recipe in DATA_KINDS  # a run from elsewhere may say anything, of any type


def _metadata(run: Run) -> dict[str, Any]:
    """What the run tells of itself; where its subject's file lies only `sources.json` may say, never the run."""
    made, told = metadata_here(run), run.info.provenance.get("subject")
    return {**made, "subject": Path(str(told)).name} if told and made.get("subject") == told else made


def _has_model(made: dict[str, Any]) -> bool:
    name, weights, sources = made.get("model", ""), made.get("weights", ""), made.get("sources", {})
    # A run from elsewhere may say anything, of any type.
    are_readable = isinstance(name, str) and isinstance(weights, str) and isinstance(sources, dict)
    return are_readable and model_is_here(name, weights, sources)


def read_subject(run: Run) -> Subject:
    """The subject of a run.

    Raises:
        NotInRunError: nothing tells how the run's models were trained.
        StoreDamagedError: the examples that it holds cannot be read.
    """
    made = _metadata(run)
    if str(made["recipe"]) in RECIPES:
        if reason := why_no_subject(run):  # or reading it would begin to pretrain
            raise NotInRunError(f"run {run.info.name!r} {reason}.")
        subject = _load(RECIPES[made["recipe"]])
        dataset, _ = plant_in(
            subject.dataset, made.get("flip_labels", 0.0), made.get("flip_kind", "uniform"), made["seed"]
        )
        return replace(subject, dataset=dataset)
    if made.get("recipe") == OWN_SUBJECT and (found := find_subject(made)) is not None:
        return found
    if reason := why_no_subject(run):
        raise NotInRunError(f"run {run.info.name!r} {reason}.")
    model = find_model(made["model"], run.info.modality, made.get("weights", ""))
    if model.sources != made.get("sources", {}):
        changed = [name for name in model.sources if model.sources[name] != made.get("sources", {}).get(name)]
        raise RunMismatchError(
            f"run {run.info.name!r} was built with another model: {', '.join(changed)} of {made['model']} changed "
            "since; put the old one back, or build the run again under another name."
        )
    dataset = read_dataset(run)
    try:
        return custom_subject(dataset, model, made.get("training"))
    except (TypeError, ValueError, AttributeError) as error:  # a run from elsewhere may say anything
        raise StoreDamagedError(
            f"run {run.info.name!r} does not tell how its models were trained ({error}); build it again from its data."
        ) from error


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
        rows = run.rows("SELECT label FROM examples WHERE split = ? ORDER BY idx", [name])
        media = list(read_media(run, name).values())
        try:
            inputs = encoding.inputs(modality.contents(media, encoding))
            labels = encoding.labels(inputs)
            if labels is None:
                labels = np.array([label for (label,) in rows], dtype=np.int64)
            return Split.of(inputs, labels, media)
        except NeedNotMetError:
            raise
        except Exception as error:  # a run from elsewhere may hold anything, and readers stumble in many ways
            told = str(error).rstrip(".") if isinstance(error, TrakCoreError) else type(error).__name__
            raise StoreDamagedError(
                f"run {info.name!r} holds {name} examples that cannot be turned into inputs ({told}); build it again "
                "from its data."
            ) from error

    names = info.class_names if info.has_classes else ()
    return Dataset(info.title, info.modality, names, split("train"), split("test"), encoding)
