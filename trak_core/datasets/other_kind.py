"""Data given as a kind that they clearly are not: said before a reader trips over them."""

from pathlib import Path

from trak_core.datasets.kinds import DATA_KINDS
from trak_core.errors import InvalidDataError

_HF_FILES = ("dataset_dict.json", "dataset_info.json", "state.json")
_ARRAY_FILES = ("*-ubyte", "*-ubyte.gz", "raw/*-ubyte", "raw/*-ubyte.gz", "data_batch_*", "*/data_batch_*")


def refuse_other_kind(kind: str, path: Path) -> None:
    """Raises InvalidDataError where what lies at the path is clearly data of another kind; it tells which."""
    try:
        found = _file_kind(kind, path) if path.is_file() else _folder_kind(kind, path) if path.is_dir() else None
    except OSError:
        return  # the reader says what is wrong
    if found is None:
        return
    other, what = found
    raise InvalidDataError(
        f"{path} is {what}, and was given as “{DATA_KINDS[kind].title}”; choose “{DATA_KINDS[other].title}” (on the "
        f"command line: `check {other}` or `build {other}`)."
    )


def _file_kind(kind: str, path: Path) -> tuple[str, str] | None:
    """The kind that a file is of by its ending, and what it is; None where that may well be the one given."""
    name = path.name.lower()
    if name.endswith(".npz") and kind in ("image-folder", "table", "hf-dataset"):
        return "image-arrays", "an .npz file of arrays"
    is_table = name.removesuffix(".gz").endswith(tuple(f".{end}" for end in DATA_KINDS["table"].uploads if end != "gz"))
    if is_table and kind in ("image-folder", "image-arrays", "hf-dataset"):
        return "table", "a table by its ending"
    return None


def _folder_kind(kind: str, path: Path) -> tuple[str, str] | None:
    """Likewise of a folder, which no table is."""
    if kind != "table":
        return None
    if any((path / name).exists() for name in _HF_FILES):
        return "hf-dataset", "a folder that `save_to_disk` wrote"
    if any(any(path.glob(pattern)) for pattern in _ARRAY_FILES):
        return "image-arrays", "a folder of arrays"
    tables = sorted(file.name for file in path.iterdir() if file.is_file() and _file_kind("image-folder", file))
    if tables:
        raise InvalidDataError(f"{path} is a folder; name the table in it, such as {tables[0]}.")
    return "image-folder", "a folder"
