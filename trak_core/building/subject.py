"""The subject of a run: data, model, task and training, with the wrong labels that its settings plant."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from trak_core.building.settings import BuildSettings, resolve_device
from trak_core.errors import RunMismatchError
from trak_core.labels.planting import PlantedErrors, plant_in
from trak_core.recipes import RECIPES, Subject

__all__ = ["load_subject", "read_subject"]


def load_subject(settings: BuildSettings) -> tuple[Subject, PlantedErrors]:
    """What is trained on under these settings, and which of its train labels were made wrong on purpose.

    Raises:
        InvalidSettingError: labels are to be made wrong, and the data has fewer than two classes.
    """
    subject = RECIPES[settings.recipe].load()
    dataset, planted = plant_in(subject.dataset, settings.flip_labels, settings.flip_kind, settings.seed)
    return replace(subject, dataset=dataset), planted


def read_subject(run_dir: Path, made: dict[str, Any]) -> tuple[BuildSettings, Subject]:
    """The settings and the subject that a finished run was built with, so that its models can be trained again.

    Args:
        run_dir: of the run, for messages.
        made: its provenance; its recipe must be known.

    Raises:
        InvalidSettingError: the run was built on a GPU, and there is none.
        RunMismatchError: the run was built by another version or from other data.
    """
    resolve_device(made["device"])
    settings = BuildSettings(**{name: made[name] for name in BuildSettings.__dataclass_fields__ if name in made})
    subject, _ = load_subject(settings)
    if settings.fingerprint(subject) != made["fingerprint"]:
        raise RunMismatchError(
            f"run {run_dir.name!r} was built from other data or by another version of this program; build it again "
            f"under another name: `python -m trak_core {shlex.join(settings.command('NAME'))}`."
        )
    return settings, subject
