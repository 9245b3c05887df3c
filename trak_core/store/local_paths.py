"""Where on this disk the data and the model of a run came from.

Runs are sent on, and what a disk looks like is nobody's business. So a run holds the mere names of the folders and
files that its data and its model came from, and `sources.json` beside its store, which no export takes along, says
where they lie.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trak_core.store.files import RunFiles, write_text
from trak_core.store.run import Run

_KEYS = ("model", "weights", "encoding", "subject", "data_source")


def without_paths(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata with names of files and folders in the place of paths, under any of `_KEYS`."""
    return {key: _short(value) if key in _KEYS else value for key, value in metadata.items()}


def _short(value: Any) -> Any:
    if isinstance(value, dict):  # of "encoding" and "data_source"
        if isinstance(paths := value.get("paths"), dict):
            value = {**value, "paths": {name: _short(path) for name, path in paths.items()}}
        return {**value, **{name: _short(value[name]) for name in ("source", "tokenizer") if name in value}}
    if not isinstance(value, str):
        return value
    if Path(value).is_absolute():
        return Path(value).name
    kind, _, folder = value.partition(":")  # "huggingface:FOLDER"
    return f"{kind}:{Path(folder).name}" if Path(folder).is_absolute() else value


def keep_local_paths(files: RunFiles, metadata: Mapping[str, Any]) -> None:
    """Writes down, for this machine alone, the paths that `without_paths` leaves out of the metadata."""
    paths = {key: metadata[key] for key in _KEYS if key in metadata and metadata[key] != _short(metadata[key])}
    if paths != _read(files):
        write_text(files.sources, json.dumps(paths, indent=1))


def metadata_here(run: Run) -> dict[str, Any]:
    """What the run's meta table tells, with the paths of this machine where it was built here."""
    made = run.info.provenance
    paths = _read(RunFiles(run.path))
    return {**made, **{key: value for key, value in paths.items() if made.get(key) == _short(value)}}


def _read(files: RunFiles) -> dict[str, Any]:
    """The paths; none where the run was built elsewhere, or where the file is damaged: then its model is not here."""
    try:
        paths = json.loads(files.sources.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(paths, dict):
        return {}
    if isinstance(kept := paths.get("pieces"), dict):  # as version 4 of the store called it
        paths["encoding"] = {"kind": "subword_tokens", **kept}
    return {key: value for key, value in paths.items() if key in _KEYS}
