"""Tables beside images that say of which class each is: Kaggle's train.csv, metadata.csv, lists for validation."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from trak_core.datasets.arrow_files import PARQUET
from trak_core.datasets.folder_names import is_about_images, listed, pure_split, split_in
from trak_core.datasets.options import LABEL_COLUMNS, SPLIT
from trak_core.datasets.rows import Example
from trak_core.datasets.sources import tidy
from trak_core.datasets.table import CSV, JSON, read_rows, table_preview
from trak_core.errors import InvalidDataError, TrakCoreError
from trak_core.modalities.raw import LabelRow, LabelTable

MAX_TABLES = 50
"""The outermost ones: those of single classes or images lie further inside."""
_NAMES = ("file_name", "filename", "file", "image", "image_id", "image_name", "id", "path", "filepath", "filepaths")
_SPLITS = (*(SPLIT.likely or ()), "data set", "dataset", "subset", "partition", "usage")
_NO_LABELS = frozenset(("", "index", "unnamed: 0", "fold", "kfold", "width", "height"))
_CLASS_WORDS = re.compile(r"class|label|target|categor|wnid|synset|prediction|species|breed", re.IGNORECASE)
_BOXES = frozenset(
    "xmin xmax ymin ymax x_min x_max y_min y_max x1 x2 y1 y2 bbox bboxes box boxes bounding_box objects".split()
)
_ONE_HOT = frozenset(("0", "1", "0.0", "1.0", "False", "True"))
N_SAMPLED = 50
"""Rows that tell what is in a column."""
MAX_ONE_HOT = 100
"""Columns of 0 and 1 that may be the classes."""


class ImageIndex:
    """Finds images by what tables call them: by path, by name, or by name without its ending."""

    def __init__(self, wheres: Sequence[str]) -> None:
        self.wheres = [tidy(where) for where in wheres]
        self._by_path = {where: number for number, where in enumerate(self.wheres)}
        self._by_name: dict[str, list[int]] = {}
        self._by_stem: dict[str, list[int]] = {}
        for number, where in enumerate(self.wheres):
            name = PurePosixPath(where)
            self._by_name.setdefault(name.name.casefold(), []).append(number)
            self._by_stem.setdefault(name.stem.casefold(), []).append(number)

    def has_stem(self, where: str) -> bool:
        """Whether an image bears the name of a file, apart from the ending: the file is about that image alone."""
        return PurePosixPath(tidy(where)).stem.casefold() in self._by_stem

    def split_of(self, number: int) -> str | None:
        """The split that the folders of an image name."""
        return next((kind for part in self.wheres[number].split("/")[:-1] if (kind := pure_split(part))), None)

    def find(self, value: Any, folder: str, split: str | None) -> int | None:
        """The number of the image that a table in that folder, perhaps of that split, calls so; None for no one."""
        if value is None or isinstance(value, list | dict | bytes):
            return None
        text = tidy(str(value)).strip().replace("\\", "/").removeprefix("./").strip("/")
        for path in (f"{folder}/{text}" if folder else text, text):
            if (found := self._by_path.get(path)) is not None:
                return found
        name = PurePosixPath(text).name.casefold()
        stem = PurePosixPath(name).stem
        numbers = self._by_name.get(name) or self._by_stem.get(name) or self._by_stem.get(stem) or []
        if len(numbers) > 1:
            numbers = [number for number in numbers if _is_end(self.wheres[number], text)] or numbers
            numbers = [number for number in numbers if split in (None, self.split_of(number))] or numbers
            numbers = [number for number in numbers if self.wheres[number].startswith(f"{folder}/")] or numbers
        # A table of train images does not mean the test image of that name.
        if len(numbers) != 1 or split not in (None, self.split_of(numbers[0]) or split):
            return None
        return numbers[0]


def _is_end(where: str, text: str) -> bool:
    """Whether one of two paths is the end of the other."""
    return f"/{where}".endswith(f"/{text}") or f"/{text}".endswith(f"/{where}")


@dataclass(frozen=True)
class ImageTable:
    """A table with rows that name images."""

    where: str  # the file, for messages
    path: Path  # where it lies, or a copy of it
    columns: tuple[str, ...]  # the names of its columns
    first: tuple[tuple[Any, ...], ...]  # its first rows, a value for each column
    names: str  # the column that names images
    has_header: bool
    delimiter: str | None  # where it is no usual one
    index: ImageIndex  # of the images

    @cached_property
    def split(self) -> str | None:
        """The split that its name tells, as that of train.csv; None where it tells none."""
        found = split_in(PurePosixPath(self.where).name.split(".")[0])
        return None if found is None else found.kind

    def _find(self, value: Any, split: str | None = None) -> int | None:
        folder = PurePosixPath(self.where).parent.as_posix().removeprefix(".")
        return self.index.find(value, folder, split or self.split)

    def names_images(self) -> bool:
        """Whether its column of names really has these: in half of its first rows, or of a quarter of all images.

        Raises:
            EmptyDataError, InvalidDataError: as the readers of tables.
        """
        if self.columns.count(self.names) != 1:
            return False
        values = self.values(self.names)
        n_found = sum(self._find(value) is not None for value in values)
        if n_found and 2 * n_found >= len(values):
            return True
        if self.names.casefold() not in _NAMES:
            return False
        rows = read_rows(self.path, [self.names], self.has_header, self.delimiter).items
        found = {self._find(row.content) for row in rows if isinstance(row, Example)} - {None}
        return 4 * len(found) >= len(self.index.wheres)

    @property
    def has_boxes(self) -> bool:
        """Whether it says where in an image something is, rather than what the image shows."""
        return any(column.strip().casefold() in _BOXES for column in self.columns)

    @cached_property
    def split_column(self) -> str | None:
        """The column that names splits."""
        for wanted in _SPLITS:
            for column in self.columns:
                values = [str(value) for value in self.values(column) if value is not None]
                if column.strip().casefold() == wanted and values and all(map(pure_split, values)):
                    return column
        return None

    @cached_property
    def candidates(self) -> list[str]:
        """The columns that may hold labels."""
        taken = (self.names, self.split_column)
        return [
            column
            for column in self.columns
            if column not in taken and column.strip().casefold() not in _NO_LABELS and self.columns.count(column) == 1
        ]

    def values(self, column: str) -> list[Any]:
        """The first values of a column."""
        number = self.columns.index(column)
        return [row[number] for row in self.first]

    def label_columns(self, label: str | None = None) -> list[str]:
        """The column of labels, which may be given, or those among which nothing decides."""
        if label is not None:
            return [label] if label in self.columns else []
        usual = [column for column in self.candidates if column.strip().casefold() in LABEL_COLUMNS]
        if len(usual) > 1:  # a number and a name of the same class
            pairs = set(zip(*(map(str, self.values(column)) for column in usual), strict=True))
            if all(len(pairs) == len({pair[place] for pair in pairs}) for place in range(len(usual))):
                words = [column for column in usual if not all(str(one).isdecimal() for one in self.values(column))]
                return (words or usual)[:1]
        return usual or self.candidates

    def rows(self, column: str) -> Iterator[tuple[int | None, Any, str | None, LabelRow]]:
        """For each row the image that it names, if there is one, its value in a column, its split, and itself.

        Raises:
            EmptyDataError, InvalidDataError: as the readers of tables.
        """
        wanted = [self.names, column] + ([] if self.split_column in (None, column) else [str(self.split_column)])
        table = LabelTable(self.where, tuple(wanted), self.has_header, self.delimiter)
        for row in read_rows(self.path, wanted, self.has_header, self.delimiter).items:
            if isinstance(row, Example):
                named = row.label if column == self.split_column else row.split
                split = None if named is None else pure_split(str(named))
                place = table, int(str(row.origin).rpartition(":")[2])
                yield self._find(row.content, split), row.label, split, place

    def splits(self) -> dict[int, str]:
        """The split of each image that it names, by the number of the image; nothing where no column tells splits.

        Raises:
            EmptyDataError, InvalidDataError: as the readers of tables.
        """
        if self.split_column is None:
            return {}
        rows = self.rows(self.split_column)
        return {number: split for number, _, split, _ in rows if number is not None and split is not None}


def find_tables(others: Sequence[Example], index: ImageIndex, room: Path) -> list[ImageTable]:
    """The tables among files that are no images; what lies in an archive is copied into `room`."""
    found = [other for other in others if _is_table(other.where) and not index.has_stem(other.where)]
    found.sort(key=lambda other: (other.where.count("/"), other.where))
    tables: list[ImageTable] = []
    for number, other in enumerate(found[:MAX_TABLES]):
        try:
            path = _on_disk(other, room / str(number))
            table = read_image_table(path, other.where, index)
        except TrakCoreError:  # a file that is no table says nothing of images
            continue
        tables += [table] if table is not None else []
    return tables


def _is_table(where: str) -> bool:
    path = PurePosixPath(where.casefold())
    if path.suffix in (".txt", ".json") and any(map(is_about_images, path.parent.parts)):
        return False  # boxes, or which images show one of several objects
    words = re.findall(r"[a-z]+", path.name)
    if "submission" in "".join(words) or set(words) & _BOXES:
        return False  # labels that are made up, or no labels
    return path.name.removesuffix(".gz").endswith((*CSV, *JSON, *PARQUET))


def _on_disk(file: Example, room: Path) -> Path:
    content = file.content()
    if isinstance(content, Path):
        return content
    room.mkdir()
    path = room / PurePosixPath(file.where).name
    path.write_bytes(content)
    return path


def read_image_table(path: Path, where: str, index: ImageIndex) -> ImageTable | None:
    """The table in a file; None where no column names images.

    Raises:
        EmptyDataError, InvalidDataError: as the readers of tables.
    """
    is_text = path.name.casefold().removesuffix(".gz").endswith(CSV)
    folder = PurePosixPath(where).parent.as_posix().removeprefix(".")
    problem: InvalidDataError | None = None
    is_read = False
    for has_header, delimiter in ((True, None), (False, None), (False, " ")) if is_text else ((True, None),):
        try:
            columns, first = _first_rows(path, has_header, delimiter)
        except InvalidDataError as error:  # perhaps read in the wrong way
            problem = error
            continue
        is_read = True
        if has_header and is_text and any(index.find(column, folder, None) is not None for column in columns):
            continue  # the first row names an image already
        if len(columns) < 2:
            continue
        for column in sorted(columns, key=lambda name: _NAMES.index(key) if (key := name.casefold()) in _NAMES else 99):
            rows = tuple(tuple(row) for row in first)
            table = ImageTable(where, path, tuple(columns), rows, column, has_header, delimiter, index)
            if table.names_images():
                return table
    if problem is not None and not is_read:
        raise problem
    return None


def _first_rows(path: Path, has_header: bool, delimiter: str | None) -> tuple[list[str], list[list[Any]]]:
    """The names of the columns of a table, and its first rows."""
    if delimiter is not None:
        columns = ["1", "2"]
        rows = [item for item in read_rows(path, columns, has_header, delimiter).items if isinstance(item, Example)]
        return columns, [[row.content, row.label] for row in rows[:N_SAMPLED]]
    return table_preview(path, not has_header)


@dataclass(frozen=True)
class TableLabels:
    """What tables say of images."""

    labels: dict[int, Any]  # by the number of the image
    splits: dict[int, str]  # likewise, where a column or the name of the table tells it
    doubtful: dict[int, str]  # why others have no label, although a row names them
    notes: list[str]  # what was decided, a sentence each
    rows: dict[int, LabelRow] = field(default_factory=dict)  # where the label of each stands, if in one row and column


def read_labels(tables: Sequence[ImageTable], label: str | None, source: str) -> TableLabels:
    """The labels of the images that some tables name.

    Args:
        tables: that name images.
        label: the column that holds labels; None for the one that is clearly meant.
        source: of the images, for messages.

    Raises:
        InvalidDataError: the column is not there, or nothing tells which one is meant.
    """
    found = TableLabels({}, {}, {}, [])
    unclear: list[ImageTable] = []
    told: dict[str, list[str]] = {}
    for table in tables:
        chosen = table.label_columns(label)
        if len(chosen) != 1 and not _are_one_hot(table, chosen):
            unclear += [table] if chosen else []
            continue
        _add(found, table, chosen, has_others=len(tables) > 1)
        one = f"the column {chosen[0]!r}" if len(chosen) == 1 else f"the {len(chosen)} columns of 0 and 1"
        told.setdefault(one, []).append(tidy(table.where))
    if not found.labels:
        raise InvalidDataError(_why_unclear(unclear or tables, label, source))
    said = [f"The labels are those in {one} of {listed(names)}." for one, names in told.items()]
    return replace(found, notes=[*said, *found.notes])


def _are_one_hot(table: ImageTable, columns: Sequence[str]) -> bool:
    """Whether each column stands for a class, and every row has 1 in one of them."""
    if not 2 <= len(columns) <= MAX_ONE_HOT:
        return False
    rows = [[str(row[table.columns.index(column)]) for column in columns] for row in table.first]
    return all(set(row) <= _ONE_HOT and sum(value in ("1", "1.0", "True") for value in row) == 1 for row in rows)


def _add(found: TableLabels, table: ImageTable, columns: Sequence[str], has_others: bool) -> None:
    """Adds what a table says: its one column of labels, or a column for each class."""
    n_missing = n_rows = 0
    for column in columns:
        for number, value, split, place in table.rows(column):
            n_rows += 1
            if number is None:
                n_missing += 1
                continue
            if len(columns) > 1:
                if str(value) not in ("1", "1.0", "True"):
                    continue
                value = column
            if number in found.labels and str(found.labels[number]) != str(value):
                found.doubtful[number] = f"it has several labels, {found.labels[number]!r} and {value!r}"
            if number in found.labels:
                found.rows.pop(number, None)
            elif len(columns) == 1:
                found.rows[number] = place
            found.labels.setdefault(number, value)
            if split or (has_others and table.split):
                found.splits[number] = split or table.split or "train"
    if n_missing := n_missing // len(columns):
        n_all = n_rows // len(columns)
        found.notes.append(f"{n_missing:,} of the {n_all:,} rows of {tidy(table.where)} name images that are not here.")


def _why_unclear(tables: Sequence[ImageTable], label: str | None, source: str) -> str:
    table = tables[0]
    columns = ", ".join(repr(column) for column in table.candidates[:20]) or "none besides the names"
    name = tidy(table.where)
    if label is not None:
        return f"{source}: {name} names the images and has no column {label!r}; there are: {columns}."
    if not table.candidates:
        return f"{source}: {name} names the images and has no column of labels; give one that has (labels)."
    return (
        f"{source}: {name} names the images, and several of its columns may hold their labels; name one of "
        f"them (label): {columns}."
    )


def labels_among(
    tables: Sequence[ImageTable], images: Mapping[int, str | None], classes: frozenset[str]
) -> dict[int, tuple[str, str]]:
    """The class, out of those given, that a table names for each image that has none, and the table that names it.

    Args:
        tables: that name images.
        images: numbers of images without a class, with the split that each is of.
        classes: the names of the classes, as the folders of other images have them.
    """
    found: dict[int, tuple[str, str]] = {}
    for table in tables:
        columns = [column for column in table.candidates if _names_classes(table.values(column), classes)]
        columns = [column for column in columns if _CLASS_WORDS.search(column)] or columns
        if len(columns) == 1:  # several columns of numbers may all look like classes that are numbers
            for number, value, *_ in table.rows(columns[0]):
                word = first_word(value)
                if number is not None and number in images and word in classes:
                    found.setdefault(number, (word, table.where))
    return found


def _names_classes(values: Sequence[Any], classes: frozenset[str]) -> bool:
    return bool(values) and 10 * sum(first_word(value) in classes for value in values) >= 9 * len(values)


def first_word(value: Any) -> str:
    """A name, or the first of several words: lists of ImageNet have a box behind the class."""
    return next(iter(tidy(str(value)).split()), "")
