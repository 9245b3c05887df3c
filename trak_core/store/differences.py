"""In what a build differs from what is there already under its name."""

from collections.abc import Callable, Mapping
from typing import Any

DATA = "data_fingerprint"
SOURCES = "sources"
_SHAPES_DATA = {"recipe", "seed", "model", "modality", "flip_labels", "flip_kind"}
"""Settings that change the examples or the form in which a model takes them, so that other data follow from them."""


def what_differs(made: Callable[[str], Any], now: Mapping[str, Any]) -> str:
    """Which settings differ by name, with both values, and whether the data do; empty where nothing that is told does.

    Args:
        made: gives what is there by its name in the provenance of a run, None where that is not told.
        now: the same of the build that was asked for.
    """
    settings = {name: made(name) for name in now if name not in (DATA, SOURCES)}
    changed = [name for name, was in settings.items() if was is not None and was != now[name]]
    said = [f"{name} was {_short(settings[name])} and is {_short(now[name])} now" for name in changed]
    was, sources = made(DATA), now.get(SOURCES) or {}
    if was is not None and DATA in now and was != now[DATA] and not _SHAPES_DATA & set(changed):
        said.append("the data changed (what is in them, or how many are drawn)")
    for name, digest in (made(SOURCES) or {}).items():
        if sources.get(name, digest) != digest:
            said.append(f"the file {name} changed")
    return "; ".join(said)


def _short(value: Any) -> str:
    said = str(value)
    return said if len(said) <= 60 else f"{said[:60]} ..."
