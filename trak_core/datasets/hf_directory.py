"""Data sets of Hugging Face on the disk: saved by `save_to_disk`, or as Parquet files the way the hub gives them.

`save_to_disk` writes a folder for each split with Arrow streams `data-00000-of-00001.arrow` and a `state.json` that
names them; above them lies `dataset_dict.json` with the names of the splits, unless there is only one. The package
itself is not needed. Files of both kinds say in their schema, as JSON, which columns hold classes.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from trak_core.datasets.arrow_files import class_names, preview, read_columns, read_schema, values_of
from trak_core.datasets.image_examples import ImageForm, images_from, read_headers
from trak_core.datasets.missing import missing_words
from trak_core.datasets.options import LABEL_COLUMNS
from trak_core.datasets.placing import DataSource, split_kind, texts_of
from trak_core.datasets.rows import Example, find_column
from trak_core.datasets.sources import tidy
from trak_core.datasets.text_files import file_errors
from trak_core.errors import EmptyDataError, InvalidDataError, InvalidSettingError
from trak_core.modalities.image.image_files import Content, ImageFileError
from trak_core.modalities.raw import RawData

_SHARD = re.compile(r"(?P<split>.+?)(-(?P<number>\d{5})-of-(?P<count>\d{5}).*)?")


@dataclass(frozen=True)
class HfPart:
    """A file with examples of one split; None where the source has no splits."""

    path: Path
    split: str | None


def read_hf_directory(
    path: Path | str,
    text: str | None = None,
    image: str | None = None,
    label: str | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    missing: str | None = None,
) -> RawData:
    """The texts or images of a folder that `save_to_disk` wrote, or that holds the Parquet files of a data set.

    A column is found where it is not named: that of labels is the only one declared as classes, or the one called
    "label"; the content is in the only column of images, or of texts where there are none. `missing` is that of
    `read_table`.

    Raises:
        EmptyDataError: there is no example that can be used.
        InvalidDataError: the folder is no such one, a file is missing or damaged, or a column is not there or not told.
        InvalidSettingError: a setting that cannot be.
        LabelError: the labels name no classes.
    """
    path = Path(path)
    if text is not None and image is not None:
        raise InvalidSettingError(f"text is {text!r} and image is {image!r}; give one of the two.")
    parts, notes = _with_known_split(_find_parts(path), path)
    schema = read_schema(parts[0].path)
    declared = class_names(schema)
    label = _label_column(label, schema, declared, path)
    is_image, content = _content_column(text, image, label, schema, path)
    source = DataSource(
        tidy(path.resolve().name), str(path), test_share, seed, declared.get(label), missing_words(missing)
    )
    examples = [example for part in parts for example in _examples(part, content, label, is_image, path)]
    if not examples:
        raise EmptyDataError(f"{path} has no examples; save the data set anew.")
    if is_image:
        return images_from(read_headers(examples), source, ImageForm(size, channels), notes)
    return texts_of(examples, source, notes)


def hf_form(path: Path, label: str | None) -> tuple[list[HfPart], str]:
    """All files of a folder that `read_hf_directory` reads, and the column of the labels in them.

    Raises:
        InvalidDataError: as `read_hf_directory`.
    """
    parts = _find_parts(path)
    schema = read_schema(_with_known_split(parts, path)[0][0].path)
    return parts, _label_column(label, schema, class_names(schema), path)


def hf_preview(path: Path, n_rows: int = 50) -> tuple[list[str], list[list[Any]]]:
    """The names of the columns of a data set of Hugging Face, and its first rows, off its first file.

    Raises:
        InvalidDataError: the folder is no such one, or a file is damaged.
    """
    return preview(_find_parts(path)[0].path, n_rows)


def _with_known_split(parts: Sequence[HfPart], source: Path) -> tuple[list[HfPart], list[str]]:
    """The files of splits that can be used, and notes on the others."""
    unknown = sorted({part.split or "" for part in parts if split_kind(part.split) is None})
    known = [part for part in parts if split_kind(part.split) is not None]
    if not known:
        raise InvalidDataError(f"{source} has no train split; there are: {', '.join(unknown)}.")
    return known, [f"The split {split!r} is not used: it is none of train, test and validation." for split in unknown]


# --- files ------------------------------------------------------------------------------------------------------


def _find_parts(path: Path) -> list[HfPart]:
    with file_errors(path):
        path.is_dir()  # says what is the matter with the path itself
    if (path / "dataset_dict.json").is_file():
        splits = _json(path / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not splits:
            raise InvalidDataError(f"{path / 'dataset_dict.json'} names no splits; save the data set anew.")
        return [part for split in splits for part in _saved(path / _plain(split, path), str(split))]
    if (path / "state.json").is_file():
        return _saved(path, None)
    files = sorted(path.rglob("*.parquet"))
    if not files:
        raise InvalidDataError(
            f"{path} is no data set of Hugging Face: it has neither dataset_dict.json nor state.json nor a .parquet "
            "file; give the folder that save_to_disk wrote, or the one with the Parquet files (image files with "
            "metadata.csv are read as image-folder)."
        )
    return _parquet(files, path)


def _saved(folder: Path, split: str | None) -> list[HfPart]:
    """The Arrow files of a split, as its `state.json` names them."""
    named = _json(folder / "state.json").get("_data_files")
    names = [entry.get("filename") for entry in named if isinstance(entry, dict)] if isinstance(named, list) else []
    if not names:
        raise InvalidDataError(f"{folder / 'state.json'} names no data files; save the data set anew.")
    return [HfPart(folder / _plain(name, folder), split) for name in names]


def _plain(name: Any, folder: Path) -> str:
    """The name of something in a folder, and nowhere else."""
    if not isinstance(name, str) or Path(name).name != name or name == "..":
        raise InvalidDataError(
            f"{folder} names {str(name)[:60]!r} as a part of it, which lies elsewhere; save it anew."
        )
    return name


def _parquet(files: Sequence[Path], root: Path) -> list[HfPart]:
    """Parquet files with their splits: `train-00000-of-00002.parquet`, `train.parquet` or `train/0000.parquet`."""
    parts: list[HfPart] = []
    n_found: Counter[str] = Counter()
    n_shards: dict[str, int] = {}
    folders: set[Path] = set()
    for file in files:
        found = _SHARD.fullmatch(file.stem)
        assert found is not None
        split, folder = found["split"], file.parent
        if split.isdecimal() and folder != root:
            split, folder = folder.name, folder.parent
        folders.add(folder)
        parts.append(HfPart(file, split))
        if found["count"]:
            n_found[split] += 1
            n_shards[split] = int(found["count"])
    if len(folders) > 1:
        listed = ", ".join(str(folder.relative_to(root)) for folder in sorted(folders))
        raise InvalidDataError(f"{root} holds Parquet files of several data sets ({listed}); give one of the folders.")
    for split, n_all in n_shards.items():
        if n_found[split] != n_all:
            raise InvalidDataError(
                f"{folder} has {n_found[split]} of the {n_all} Parquet files of the split {split!r}; fetch the others."
            )
    if len({part.split for part in parts}) == 1 and split_kind(parts[0].split) is None:
        return [HfPart(part.path, None) for part in parts]
    return parts


def _json(path: Path) -> dict[str, Any]:
    with file_errors(path):
        content = path.read_bytes()
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidDataError(f"{path} is not valid JSON; save the data set anew.") from error
    if not isinstance(found, dict):
        raise InvalidDataError(f"{path} holds no JSON object; save the data set anew.")
    return found


# --- columns ----------------------------------------------------------------------------------------------------


def _label_column(given: str | None, schema: pa.Schema, declared: Mapping[str, Any], source: Path) -> str:
    if given is not None:
        find_column(given, schema.names, str(source))
        return given
    likely = [name for name in schema.names if name in declared] or [
        name for name in schema.names if name.casefold() in LABEL_COLUMNS
    ]
    return _only(likely, "label", schema.names, source)


def _content_column(
    text: str | None, image: str | None, label: str, schema: pa.Schema, source: Path
) -> tuple[bool, str]:
    """Whether the examples are images, and the column that has them."""
    given = text if image is None else image
    if given is not None:
        find_column(given, schema.names, str(source))
        return image is not None, given
    images = [field.name for field in schema if _is_image(field.type)]
    if images:
        return True, _only(images, "image", schema.names, source)
    texts = [field.name for field in schema if _is_text(field.type) and field.name != label]
    return False, _only(texts, "text", schema.names, source)


def _only(likely: Sequence[str], option: str, columns: Sequence[str], source: Path) -> str:
    if len(likely) == 1:
        return likely[0]
    found = "no column is clearly the one" if not likely else f"there are {len(likely)} columns that may be the one"
    raise InvalidDataError(
        f"{source}: {found} of {option}s; name it ({option}): {', '.join(repr(name) for name in likely or columns)}."
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_image(kind: pa.DataType) -> bool:
    """Images are structs of the bytes of a file and its path, of which one may be missing."""
    return pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


# --- examples ---------------------------------------------------------------------------------------------------


def _examples(part: HfPart, content: str, label: str, is_image: bool, root: Path) -> list[Example]:
    contents, labels = read_columns(part.path, [content, label])
    found: Sequence[Any] = (
        values_of(contents)
        if not is_image
        else [partial(_image_file, contents, row, root) for row in range(len(contents))]
    )
    file = part.path.relative_to(root).as_posix()
    return [
        Example(f"{file}, row {row}", one, name, part.split, origin=f"{file}:{row}")
        for row, (one, name) in enumerate(zip(found, values_of(labels), strict=True), start=1)
    ]


def _image_file(column: pa.ChunkedArray, row: int, root: Path) -> Content:
    """The content of an image file, or its path where it lies in the folder.

    Raises:
        ImageFileError: there is none.
    """
    value = column[row].as_py()
    content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if isinstance(content, bytes):
        return content
    if not isinstance(name, str):
        raise ImageFileError("it has no image", "give one")
    file = (root / name).resolve()
    if not file.is_relative_to(root.resolve()):
        raise ImageFileError("its image lies outside of the folder", "save the data set with its images")
    return file
