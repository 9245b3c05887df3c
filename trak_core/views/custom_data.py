"""Custom data in people's words: where they lie, what columns they have, and what a run was built from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trak_core.datasets.column_guess import likely_columns
from trak_core.datasets.kinds import DATA_KINDS, DataKind
from trak_core.datasets.other_kind import refuse_other_kind
from trak_core.errors import InvalidDataError
from trak_core.modalities import MODALITIES
from trak_core.store.run import RunInfo
from trak_core.subjects.models_by_name import ready_models


def typed_path(typed: str) -> Path | None:
    """The path that somebody typed, also with a tilde; None where there is none.

    Raises:
        InvalidDataError: nothing can lie there.
    """
    typed = typed.strip()
    if not typed:
        return None
    try:
        path = Path(typed).expanduser()
        path.resolve().exists()
    except (OSError, RuntimeError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise InvalidDataError(f"nothing can be read at {typed[:200]} ({said}); check the path.") from error
    return path


def columns_of(kind: DataKind, path: Path, options: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """The names of the columns of the data, and which of them the options probably mean, by name of the option.

    Both are empty where data of that kind have no columns. Options are those of reading that are given so far, by name.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: they cannot be read, or are clearly of another kind.
        InvalidSettingError: a setting that cannot be.
    """
    refuse_other_kind(kind.name, path)
    if kind.preview is None:
        return [], {}
    try:
        names, rows = kind.preview(path, options)
    except OSError as error:
        raise InvalidDataError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error
    return names, likely_columns([option for option in kind.options if option.is_column], names, rows)


def model_in_words(info: RunInfo) -> str | None:
    """What model a run of custom data has, such as "cnn, two convolutions"; None for other runs."""
    name = info.provenance.get("model")
    if not isinstance(name, str) or not name:  # what a run from elsewhere says may be of any type
        return None
    ready = ready_models().get(name)
    return f"{ready.name}, {ready.title}" if ready else name


def made_from(info: RunInfo) -> str | None:
    """What a run of custom data was built from, such as "Images from the folder “cats”"; None for others."""
    kind = DATA_KINDS.get(info.recipe) if isinstance(info.recipe, str) else None
    if kind is None:
        return None
    modality = MODALITIES.get(info.modality)
    plural = "examples" if modality is None else modality.plural
    return f"{plural.capitalize()} {kind.made_from} “{info.title}”"


def run_in_words(info: RunInfo) -> str | None:
    """What a run of custom data is, in a sentence: its data, its model, the minutes it was given; None for others."""
    source = made_from(info)
    if source is None:
        return None
    parts = [source]
    if (model := model_in_words(info)) is not None:
        parts.append(f"model {model}")
    minutes = info.provenance.get("minutes")
    if isinstance(minutes, int | float) and not isinstance(minutes, bool):
        parts.append(f"given {minutes:g} minutes" if minutes != 1 else "given one minute")
    return "; ".join(parts)


def command_again(name: str, command: list[str], form: list[str] | None) -> list[str]:
    """The command of a build; as the form says it, without a name, where that is about the data it builds from."""
    return [*form, "--name", name] if form is not None and form[:3] == command[:3] else command
