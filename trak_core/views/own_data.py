"""A person's own data in their words: what can be built from, and what a run of it was built from."""

from pathlib import Path

from trak_core.datasets.hf_directory import LABELS, hf_columns
from trak_core.datasets.own_data import DataKind
from trak_core.datasets.table import table_columns
from trak_core.errors import InvalidDataError
from trak_core.store.run import RunInfo
from trak_core.subjects import READY_MODELS, ReadyModel

__all__ = [
    "KIND_TITLES",
    "columns_of",
    "likely_column",
    "made_from",
    "model_in_words",
    "models_for",
    "run_in_words",
    "typed_path",
]

KIND_TITLES: dict[DataKind, str] = {
    "image-folder": "A folder of images",
    "table": "A table of texts",
    "image-arrays": "Arrays of images",
    "hf-dataset": "A Hugging Face data set",
}
"""What people call the kinds of data, the usual ones first."""
TEXTS = ("text", "sentence", "content", "review", "document", "body", "comment", "message", "title")
"""What columns of texts are called."""
SPLITS = ("split", "set", "fold")
_MADE = {
    "image-folder": "Images from the folder",
    "image-arrays": "Images from the arrays",
    "table": "Texts from the table",
    "hf-dataset": "{} from the Hugging Face data set",
}


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


def models_for(kind: DataKind, takes_images: bool) -> list[ReadyModel]:
    """The ready models for data of a kind.

    Args:
        kind: of data.
        takes_images: whether the examples are images, where the kind does not say it.
    """
    is_image = kind.startswith("image") or (kind == "hf-dataset" and takes_images)
    return [model for model in READY_MODELS.values() if (model.encoding == "pixels") == is_image]


def columns_of(data_kind: DataKind, path: Path, has_header: bool = True, encoding: str | None = None) -> list[str]:
    """The names of the columns of a table or of a Hugging Face data set.

    Raises:
        EmptyDataError: there are no rows.
        InvalidDataError: it cannot be read.
        InvalidSettingError: a setting that cannot be.
    """
    try:
        return hf_columns(path) if data_kind == "hf-dataset" else table_columns(path, has_header, None, encoding)
    except OSError as error:
        raise InvalidDataError(f"{path} cannot be read ({error.strerror or error}); check the path.") from error


def likely_column(columns: list[str], what: str) -> str | None:
    """The column that probably holds the "text", the "label" or the "split"; None where no name says so."""
    likely = {"text": TEXTS, "label": LABELS, "split": SPLITS}[what]
    return next((column for name in likely for column in columns if column.casefold() == name), None)


def model_in_words(info: RunInfo) -> str | None:
    """What model a run of own data has, such as "cnn, two convolutions"; None for other runs."""
    name = info.provenance.get("model")
    if not isinstance(name, str) or not name:  # what a run from elsewhere says may be of any type
        return None
    ready = READY_MODELS.get(name)
    return f"{ready.name}, {ready.title}" if ready else name


def made_from(info: RunInfo) -> str | None:
    """What a run of own data was built from, such as "Images from the folder “cats”"; None for others."""
    said = _MADE.get(info.recipe) if isinstance(info.recipe, str) else None
    if said is None:
        return None
    return f"{said.format('Images' if info.modality == 'image' else 'Texts')} “{info.title}”"


def run_in_words(info: RunInfo) -> str | None:
    """What a run of own data is, in a sentence: its data, its model, the minutes that it was given; None for others."""
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
