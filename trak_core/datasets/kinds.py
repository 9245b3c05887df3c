"""The kinds of data that a run can be built from, one entry each.

The command line, the pages and Python follow from the entry. A further kind is a reader that gives `RawData` and an
entry in this table, or a call of `register_data_kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trak_core.datasets.options import (
    CHANNELS,
    DELIMITER,
    ENCODING,
    HEADING,
    IMAGE,
    LABEL,
    LABEL_OF_IMAGES,
    LABELS,
    MESSAGES,
    MISSING,
    NO_CHAT_TEMPLATE,
    NO_HEADER,
    SIZE,
    SOURCE,
    SPLIT,
    TARGET,
    TEST,
    TEST_SHARE,
    TEXT,
    WORDS,
    Option,
)
from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.modalities.raw import RawData

Progress = Callable[[int, int], object]
"""Told of the steps done and of all steps."""


@dataclass(frozen=True)
class DataKind:
    """One kind of data."""

    name: str  # on the command line, and in the place of a recipe's name in runs
    title: str  # what people call it
    holds: str  # what it is, after "From ..."
    made_from: str  # of a run of it, between its examples and the name of the data, as "from the folder"
    modalities: tuple[str, ...]  # of its examples; where there are several, the column that is named decides
    # gives the data from their path, the options by name, the seed of what is held out, and who is told how far reading
    # is
    read: Callable[[Path, Mapping[str, Any], int, Progress], RawData]
    options: tuple[Option, ...] = (TEST_SHARE,)  # that it takes
    required: tuple[str, ...] = ()  # names of those that must be given
    # gives the names of the columns and the first rows, a value for each column, from the path and the options so far;
    # None for data without columns
    preview: Callable[[Path, Mapping[str, Any]], tuple[list[str], list[list[Any]]]] | None = None
    metavar: str = "PATH"  # what stands for the path in usage lines
    path_title: str = "File or folder"  # above the field for the path
    path_example: str = ""  # in that field while it is empty
    path_caption: str = ""  # below it
    uploads: tuple[str, ...] = ()  # endings of files that may be uploaded; empty where a path has to be typed
    upload_title: str = "File"  # above the field for the upload
    # how cleaned labels are written for it: as a table, by moves in a folder, or as a copy of the file or folder
    given_back: Literal["table", "folder", "copy"] | None = None

    def modality(self, options: Mapping[str, Any]) -> str:
        """The modality of the examples that these options name; the first one where they do not say."""
        named = (option.contents_of for option in self.options if options.get(option.name))
        return next((name for name in named if name in self.modalities), self.modalities[0])


# Readers are imported when something is read: they bring libraries along that take a while.


def _read_image_folder(path: Path, options: Mapping[str, Any], seed: int, on_progress: Progress) -> RawData:
    from trak_core.datasets.image_folder import read_image_folder

    return read_image_folder(path, seed=seed, on_progress=on_progress, **options)


def _read_image_arrays(path: Path, options: Mapping[str, Any], seed: int, on_progress: Progress) -> RawData:
    """Arrays of images, in whichever of the known forms they lie there."""
    from trak_core.datasets.cifar import read_cifar_folder
    from trak_core.datasets.idx import read_idx_folder
    from trak_core.datasets.npz import read_npz
    from trak_core.datasets.text_files import file_errors

    if path.suffix.lower() == ".npz":
        return read_npz(path, seed=seed, **options)
    with file_errors(path):
        is_there = path.exists()
    if not is_there:
        raise InvalidDataError(f"{path} is not there; give an .npz file, or a folder with idx or CIFAR-10 files.")
    if any(any(path.glob(pattern)) for pattern in ("*.bin", "*/data_batch_*.bin", "data_batch_*", "*/data_batch_*")):
        return read_cifar_folder(path)
    return read_idx_folder(path)


def _read_table(path: Path, options: Mapping[str, Any], seed: int, on_progress: Progress) -> RawData:
    from trak_core.datasets.table import read_table

    return read_table(path, seed=seed, **options)


def _read_passages(path: Path, options: Mapping[str, Any], seed: int, on_progress: Progress) -> RawData:
    from trak_core.datasets.passage_files import read_passages

    return read_passages(path, seed=seed, **options)


def _read_text_pairs(path: Path, options: Mapping[str, Any], seed: int, on_progress: Progress) -> RawData:
    from trak_core.datasets.text_pairs import read_text_pairs

    return read_text_pairs(path, seed=seed, **options)


def _table_preview(path: Path, options: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    from trak_core.datasets.table import table_preview

    return table_preview(path, bool(options.get("no_header")), options.get("encoding"), options.get("delimiter"))


def _read_hf_dataset(path: Path, options: Mapping[str, Any], seed: int, on_progress: Progress) -> RawData:
    from trak_core.datasets.hf_directory import read_hf_directory

    return read_hf_directory(path, seed=seed, **options)


def _hf_preview(path: Path, options: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    from trak_core.datasets.hf_directory import hf_preview

    return hf_preview(path)


DATA_KINDS: dict[str, DataKind] = {
    kind.name: kind
    for kind in (
        DataKind(
            "image-folder",
            "A folder of images",
            "images laid out as FOLDER/CLASS/IMAGE, below train and test folders, or listed in a table; a zip too",
            "from the folder",
            ("image",),
            _read_image_folder,
            (LABEL_OF_IMAGES, LABELS, SIZE, CHANNELS, TEST_SHARE),
            metavar="FOLDER",
            path_title="Folder or zip file",
            path_example="/home/me/pictures",
            path_caption="A folder for each class, with its images in it, or images with a table of their classes.",
            uploads=("zip",),
            upload_title="Zip of an image folder",
            given_back="folder",
        ),
        DataKind(
            "table",
            "A table of texts",
            "texts in a CSV, JSON lines or Parquet file",
            "from the table",
            ("text",),
            _read_table,
            (TEXT, LABEL, SPLIT, TEST, NO_HEADER, DELIMITER, ENCODING, MISSING, TEST_SHARE),
            required=("text", "label"),
            preview=_table_preview,
            metavar="FILE",
            path_title="File",
            path_example="/home/me/reviews.csv",
            path_caption="CSV, TSV, JSON lines or Parquet, also packed with gzip: one text per row.",
            uploads=("csv", "tsv", "tab", "txt", "jsonl", "ndjson", "json", "parquet", "pq", "gz"),
            given_back="table",
        ),
        DataKind(
            "image-arrays",
            "Arrays of images",
            "arrays of images: a folder of idx or CIFAR-10 files, or an .npz file",
            "from the arrays",
            ("image",),
            _read_image_arrays,
            path_example="/home/me/images.npz",
            path_caption="An .npz file, or a folder of idx or CIFAR-10 files.",
            uploads=("npz",),
            given_back="copy",
        ),
        DataKind(
            "passages",
            "Running text for a language model",
            "passages of a text file, or of a folder of text files",
            "from the text",
            ("passage",),
            _read_passages,
            (WORDS, HEADING, ENCODING, TEST_SHARE),
            path_title="File or folder",
            path_example="/home/me/plays.txt",
            path_caption="A text file, or a folder of such: each file is a document.",
            uploads=("txt", "md"),
        ),
        DataKind(
            "text-to-text",
            "A table of pairs of texts for a language model",
            "pairs of texts in a CSV, JSON lines or Parquet file",
            "from the table",
            ("text_pair",),
            _read_text_pairs,
            (SOURCE, TARGET, MESSAGES, NO_CHAT_TEMPLATE, SPLIT, NO_HEADER, DELIMITER, ENCODING, MISSING, TEST_SHARE),
            preview=_table_preview,
            metavar="FILE",
            path_title="File",
            path_example="/home/me/questions.jsonl",
            path_caption="CSV, TSV, JSON lines or Parquet: what is given, and what a model is to say to it.",
            uploads=("csv", "tsv", "tab", "txt", "jsonl", "ndjson", "json", "parquet", "pq", "gz"),
        ),
        DataKind(
            "hf-dataset",
            "A Hugging Face data set",
            "what `save_to_disk` of the Hugging Face library datasets wrote",
            "from the Hugging Face data set",
            ("text", "image"),
            _read_hf_dataset,
            (TEXT, IMAGE, LABEL, MISSING, SIZE, CHANNELS, TEST_SHARE),
            preview=_hf_preview,
            metavar="FOLDER",
            path_title="Folder",
            path_example="/home/me/imdb",
            path_caption="What `save_to_disk` wrote, or the Parquet files of a data set.",
            given_back="copy",
        ),
    )
}
"""By name, the usual ones first."""


def register_data_kind(kind: DataKind) -> None:
    """Makes a further kind of data known; the commands of a program that runs already stay as they are.

    Raises:
        InvalidSettingError: its name is taken.
    """
    if kind.name in DATA_KINDS:
        raise InvalidSettingError(f"there is a kind of data {kind.name!r} already; give this one another name.")
    DATA_KINDS[kind.name] = kind


def find_data_kind(name: str) -> DataKind:
    """The kind of data of that name.

    Raises:
        InvalidSettingError: there is none.
    """
    if name not in DATA_KINDS:
        raise InvalidSettingError(f"kind={name!r}; it must be one of: {', '.join(DATA_KINDS)}.")
    return DATA_KINDS[name]
