"""Arrays and data sets of Hugging Face with mended labels: a copy of the file or folder that differs in nothing else.

A label is mended by taking over how another row writes that class, so that numbers stay numbers.
"""

import gzip
import io
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trak_core.datasets.arrow_files import PARQUET, arrow_errors
from trak_core.datasets.cifar import read_records
from trak_core.datasets.hf_directory import HfPart, hf_form
from trak_core.datasets.idx import idx_bytes, images_beside, read_idx
from trak_core.datasets.npz import arrays_beside
from trak_core.errors import InvalidDataError, InvalidSettingError, NotInRunError
from trak_core.exchange.cleaned import Cleaning
from trak_core.exchange.cleaned_parquet import read_labels, write_parquet
from trak_core.exchange.moves import new_folder
from trak_core.store.files import check_new_file, replace_file

Place = tuple[str, int]
"""The array or file that holds a label, and the number of its row there, from 0."""
ABOUT_ARROW = ("state.json", "dataset_info.json", "dataset_dict.json")
"""Files that say what lies in Arrow files beside them."""
ROWS_AT_ONCE = 1000
"""Rows of a group of Parquet."""


@dataclass(frozen=True)
class Edits:
    """What is to be different in a copy."""

    donors: Mapping[Place, Place]  # by the place of a label, that whose value it gets
    left_out: frozenset[Place]

    @property
    def changed(self) -> list[str]:
        """The names of what is different."""
        return sorted({name for name, _ in (*self.donors, *self.left_out)})

    def rows_left_out(self, name: str) -> list[int]:
        """The rows that are left out of an array or file."""
        return sorted(row for holder, row in self.left_out if holder == name)

    def of(self, name: str) -> Iterator[tuple[int, Place]]:
        """The rows of an array or file that get other labels, with the places that these are taken from."""
        return ((row, donor) for (holder, row), donor in self.donors.items() if holder == name)

    def labels(self, name: str, read: Callable[[str], NDArray[Any]]) -> NDArray[Any]:
        """An array of labels as it should be, from what `read` gives for each name; `[n]` or `[n, 1]`."""
        values = np.array(read(name))
        for row, (holder, donor) in self.of(name):
            values[row] = read(holder)[donor]
        return np.delete(values, self.rows_left_out(name), axis=0)


def write_copy(cleaning: Cleaning, to: Path, overwrite: bool = False) -> None:
    """Writes a copy of arrays, or of a data set of Hugging Face, with mended labels and without what is left out.

    An .npz file comes back as one, a folder of idx or CIFAR-10 files as such a folder, Parquet files as they are, and
    what `save_to_disk` wrote as Parquet files of the same columns. The copy is there in one step: whole, or not at all.

    Raises:
        InvalidDataError: a file is damaged, or all of one would be left out.
        InvalidSettingError: the path has another ending than the file, is the data themselves, or is there already.
        NotInRunError: a class has no row to tell how it is written.
        StorageError: it cannot be written, because the disk is full, say.
    """
    data, path = cleaning.source.data, cleaning.path
    edits = _edits(cleaning)
    if path.is_file():
        if to.suffix.lower() != path.suffix.lower():
            raise InvalidSettingError(f"{to} should end in {path.suffix}, as {path.name} does.")
        check_new_file(to, overwrite)
        if to.exists() and to.samefile(path):
            raise InvalidSettingError(
                f"{to} is the file that the run was built from; give the cleaned one another name."
            )
        replace_file(to, lambda temporary: _write_npz(path, temporary, edits))
        return
    with new_folder(path, to) as new:
        if data.kind == "hf-dataset":
            _write_hf(path, new, edits, data.options.get("label"))
        else:
            _write_array_files(path, new, edits)


def _place(origin: str, in_file: bool) -> Place:
    """Where a label stands by its origin: "a.npz:y_train[16]", "train-labels-idx1-ubyte[3]" or "train.parquet:17"."""
    if found := re.fullmatch(r"(.*)\[(\d+)\]", origin):
        return found[1].rpartition(":")[2] if in_file else found[1], int(found[2])
    name, _, row = origin.rpartition(":")
    return name, int(row) - 1


def _edits(cleaning: Cleaning) -> Edits:
    written: dict[tuple[str, str], Place] = {}  # by class and by what holds it
    n_rows: dict[str, int] = {}
    in_file = cleaning.path.is_file()
    for origin, name in cleaning.source.classes.items():
        place = _place(origin, in_file)
        n_rows[place[0]] = n_rows.get(place[0], 0) + 1
        written.setdefault((name, place[0]), place)
        written.setdefault((name, ""), place)
    donors, left_out = {}, set()
    for one in cleaning.mended:
        place = _place(one.origin, in_file)
        if one.new_label is None:
            left_out.add(place)
        elif donor := written.get((one.new_label, place[0])) or written.get((one.new_label, "")):
            donors[place] = donor
        else:
            raise NotInRunError(
                f"{cleaning.path} has no row of the class {one.new_label!r} any more, so that nothing tells how it is "
                f"written; {one.origin} cannot be mended."
            )
    for name, n in n_rows.items():
        if sum(holder == name for holder, _ in left_out) == n:
            raise InvalidDataError(f"every row of {name} would be left out; keep some.")
    return Edits(donors, frozenset(left_out))


# --- arrays -----------------------------------------------------------------------------------------------------


def _write_npz(path: Path, to: Path, edits: Edits) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        read = cache(arrays.__getitem__)
        new = {name: edits.labels(name, read) for name in edits.changed}
        for name in edits.changed:
            rows = edits.rows_left_out(name)
            beside = [one for one in arrays_beside(name) if rows and one in arrays.files]
            new |= {one: np.delete(read(one), rows, axis=0) for one in beside}
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as copy:
        for member in old.infolist():
            name = member.filename.removesuffix(".npy")
            content = _npy(new[name]) if name in new else old.read(member)
            copy.writestr(member, content, member.compress_type)


def _npy(array: NDArray[Any]) -> bytes:
    held = io.BytesIO()
    np.lib.format.write_array(held, array, allow_pickle=False)
    return held.getvalue()


def _write_array_files(path: Path, new: Path, edits: Edits) -> None:
    """A folder of idx or CIFAR-10 files."""
    shutil.copytree(path, new, symlinks=True)
    for name in edits.changed:
        rows, file = edits.rows_left_out(name), path / name
        if file.suffix == ".bin":
            records = np.delete(read_records(file), rows, axis=0)
            records[:, 0] = edits.labels(name, lambda one: read_records(path / one)[:, 0])
            _replace(new / name, records.tobytes())
            continue
        labels = edits.labels(name, lambda one: read_idx(path / one, 1))
        _replace(new / name, _packed(file, idx_bytes(labels)))
        if rows:
            images = images_beside(file)
            content = idx_bytes(np.delete(read_idx(images, 3), rows, axis=0))
            _replace(new / images.relative_to(path), _packed(images, content))


def _packed(like: Path, content: bytes) -> bytes:
    return gzip.compress(content, mtime=0) if like.suffix == ".gz" else content


def _replace(file: Path, content: bytes) -> None:
    file.unlink()  # it may be a link to what is elsewhere
    file.write_bytes(content)


# --- data sets of Hugging Face ----------------------------------------------------------------------------------


def _write_hf(path: Path, new: Path, edits: Edits, label: str | None) -> None:
    parts, column = hf_form(path, label)
    new.mkdir()
    of_data = {part.path for part in parts}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file not in of_data and not (file.name in ABOUT_ARROW and _lies_beside(file, of_data)):
            target = new / file.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target, follow_symlinks=False)
    for part, name in zip(parts, _new_names(parts, path), strict=True):
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        old = part.path.relative_to(path).as_posix()
        if old not in edits.changed and part.path.suffix.lower() in PARQUET:
            shutil.copy2(part.path, new / name)
            continue
        labels, rows = _mended(old, path, column, edits), edits.rows_left_out(old)
        write = write_parquet if part.path.suffix.lower() in PARQUET else _write_arrow
        write(part.path, new / name, column, labels, rows)


def _lies_beside(file: Path, of_data: set[Path]) -> bool:
    """Whether a file tells of Arrow files in its folder or in those below it."""
    return any(one.suffix.lower() not in PARQUET and file.parent in one.parents for one in of_data)


def _new_names(parts: list[HfPart], path: Path) -> list[str]:
    """What the files are called in the copy: as they are, or, for Arrow files, as Parquet files of their splits."""
    names = []
    for part in parts:
        if part.path.suffix.lower() in PARQUET:
            names.append(part.path.relative_to(path).as_posix())
            continue
        same = [one for one in parts if one.split == part.split]
        names.append(f"{part.split or 'data'}-{same.index(part):05}-of-{len(same):05}.parquet")
    return names


def _mended(name: str, path: Path, column: str, edits: Edits) -> pa.ChunkedArray:
    """The labels of a file, as they should be."""
    own = read_labels(path / name, column)
    donors = dict(edits.of(name))
    chunks, source, n_chunks = [*own.chunks], np.arange(len(own)), len(own)
    for holder in dict.fromkeys(holder for holder, _ in donors.values()):
        further = own if holder == name else read_labels(path / holder, column)
        start = 0 if holder == name else n_chunks
        for row, (where, donor) in donors.items():
            if where == holder:
                source[row] = start + donor
        if holder != name:
            chunks, n_chunks = [*chunks, *further.chunks], n_chunks + len(further)
    with arrow_errors(path / name):
        everything = pa.chunked_array(chunks, type=own.type)
        if pa.types.is_dictionary(own.type):
            everything = everything.unify_dictionaries()
        return everything.take(pa.array(source))


def _write_arrow(path: Path, to: Path, column: str, labels: pa.ChunkedArray, left_out: list[int]) -> None:
    """An Arrow stream as a Parquet file of the same columns with other labels and without some rows, from 0."""
    with arrow_errors(path):
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        place = table.schema.get_field_index(column)
        table = table.set_column(place, table.schema.field(place), labels)
        if left_out:
            kept = np.ones(len(table), dtype=bool)
            kept[left_out] = False
            table = table.filter(pa.array(kept))
        pq.write_table(table, to, row_group_size=ROWS_AT_ONCE)
