"""Where on this disk the model of a run came from.

Runs are sent on, and what a disk looks like is nobody's business. So a run holds the mere names of the folder and the
file that its model came from, and `sources.json` beside its store, which no export takes along, says where they lie.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trak_core.store.files import RunFiles, write_text
from trak_core.store.run import Run

__all__ = ["facts_here", "keep_places", "without_paths"]

_KEYS = ("model", "weights", "pieces", "subject")


def without_paths(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with the name of a file or folder in the place of its path, under the keys that hold one."""
    return {key: _short(value) if key in _KEYS else value for key, value in facts.items()}


def _short(value: Any) -> Any:
    if isinstance(value, dict):  # of "pieces"
        return {**value, "source": _short(value.get("source"))}
    if not isinstance(value, str):
        return value
    if Path(value).is_absolute():
        return Path(value).name
    kind, _, folder = value.partition(":")  # "huggingface:FOLDER"
    return f"{kind}:{Path(folder).name}" if Path(folder).is_absolute() else value


def keep_places(files: RunFiles, facts: Mapping[str, Any]) -> None:
    """Writes down, for this machine alone, the paths that `without_paths` leaves out of the facts.

    Raises:
        StorageError: the disk is full or may not be written.
    """
    places = {key: facts[key] for key in _KEYS if key in facts and facts[key] != _short(facts[key])}
    if places != _read(files):
        write_text(files.sources, json.dumps(places, indent=1))


def facts_here(run: Run) -> dict[str, Any]:
    """What the run's meta table tells, with the paths of this machine where it was built here."""
    made = run.info.provenance
    places = _read(RunFiles(run.path))
    return {**made, **{key: value for key, value in places.items() if made.get(key) == _short(value)}}


def _read(files: RunFiles) -> dict[str, Any]:
    """The places; none where the run was built elsewhere, or where the file is damaged: then its model is not here."""
    try:
        places = json.loads(files.sources.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in places.items() if key in _KEYS} if isinstance(places, dict) else {}
