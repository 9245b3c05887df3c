"""The subject of a run: data, model, task and training, with the wrong labels that its settings plant."""

import shlex
from dataclasses import replace

from trak_core.engine.settings import BuildSettings, resolve_device
from trak_core.errors import RunMismatchError
from trak_core.store.run import Run
from trak_core.subjects import Recipe, Subject, find_recipe
from trak_core.subjects.of_run import read_subject
from trak_core.subjects.planting import PlantedErrors, plant_in


def load_subject(settings: BuildSettings, recipe: Recipe | None = None) -> tuple[Subject, PlantedErrors]:
    """What is trained on under these settings, and which of its train labels were made wrong on purpose.

    Raises:
        InvalidSettingError: labels are to be made wrong, and the data has fewer than two classes.
    """
    subject = (recipe or find_recipe(settings.recipe)).load()
    dataset, planted = plant_in(subject.dataset, settings.flip_labels, settings.flip_kind, settings.seed)
    return replace(subject, dataset=dataset), planted


def read_build(run: Run) -> tuple[BuildSettings, Subject]:
    """The settings and the subject that a finished run was built with, so that its models can be trained again.

    Raises:
        InvalidSettingError: the run was built on a GPU, and there is none.
        NotInRunError: nothing tells how the run's models were trained.
        RunMismatchError: the run was built by another version or from other data.
    """
    made = run.info.provenance
    resolve_device(made["device"])
    settings = BuildSettings(**{name: made[name] for name in BuildSettings.__dataclass_fields__ if name in made})
    subject = read_subject(run)
    if settings.fingerprint(subject) != made["fingerprint"]:
        again = f": `python -m trak_core {shlex.join(settings.command('NAME'))}`" if not settings.model else ""
        raise RunMismatchError(
            f"run {run.info.name!r} was built from other data or by another version of this program; build it again "
            f"under another name{again}."
        )
    return settings, subject
