"""The subject of a finished run, read again so that its models can be trained again."""

from pathlib import Path
from typing import Any

from trak_core.building.settings import BuildSettings, resolve_device
from trak_core.errors import RunMismatchError
from trak_core.recipes import RECIPES, Subject

__all__ = ["read_subject"]


def read_subject(run_dir: Path, made: dict[str, Any]) -> tuple[BuildSettings, Subject]:
    """The settings and the subject that a run was built with.

    Args:
        run_dir: of the run, for messages.
        made: its provenance; its recipe must be known.

    Raises:
        InvalidSettingError: the run was built on a GPU, and there is none.
        RunMismatchError: the run was built by another version or from other data.
    """
    subject = RECIPES[made["recipe"]].load()
    resolve_device(made["device"])
    settings = BuildSettings(**{name: made[name] for name in BuildSettings.__dataclass_fields__ if name in made})
    if settings.fingerprint(subject) != made["fingerprint"]:
        raise RunMismatchError(
            f"run {run_dir.name!r} was built from other data or by another version of this program; build it again "
            f"under another name: `python -m trak_core build {made['recipe']} --name NAME`."
        )
    return settings, subject
