"""Files that people hand over through a browser, kept where builds can read them again."""

import os
import re
import shutil
import unicodedata
from pathlib import Path
from typing import IO

from trak_core.datasets.sources import open_source
from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.store.files import storage_errors

__all__ = ["keep_upload", "sources_dir"]

LONGEST_NAME = 80
_UNUSUAL = re.compile(r"[^\w.-]+")


def sources_dir(runs_dir: Path) -> Path:
    """Where the files lie that runs were built from: beside the runs, because builds that go on read them again."""
    return runs_dir.parent / "sources"


def keep_upload(file: IO[bytes], name: str, folder: Path) -> Path:
    """Keeps a file under its name, and returns where; a file that is there already with that content serves again.

    An archive is kept packed: `read_image_folder` reads it as it lies, so that nothing in it can climb out, lead
    elsewhere or expand without end on the disk.

    Args:
        file: open, from its beginning.
        name: that it bore; what paths are made of is taken out.
        folder: to keep it in; made if missing.

    Raises:
        EmptyDataError: the file is empty.
        InvalidDataError: it is called a zip file and is none, or would unpack to too much.
        StorageError: the disk is full or may not be written.
    """
    name = _harmless(name)
    temporary = folder / f".{os.getpid()}-{id(file)}-{name}"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as copy:
                shutil.copyfileobj(file, copy)
            if temporary.stat().st_size == 0:
                raise EmptyDataError(f"{name} is empty; choose another file.")
            if name.casefold().endswith(".zip"):
                _check_archive(temporary, name)
            return _under_free_name(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def _harmless(name: str) -> str:
    """The name without folders and without signs that mean something to systems; in any script."""
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    plain = _UNUSUAL.sub("-", last).strip(".-")
    return plain[-LONGEST_NAME:].lstrip(".-") or "upload"


def _check_archive(path: Path, name: str) -> None:
    try:
        with open_source(path):
            pass
    except InvalidDataError as error:
        raise InvalidDataError(str(error).replace(str(path), name)) from error


def _under_free_name(temporary: Path, wanted: Path) -> Path:
    """Gives the file its name, or the next free one; never one that is taken."""
    ending = "".join(wanted.suffixes[-2:]) if wanted.suffix == ".gz" else wanted.suffix
    stem = wanted.name.removesuffix(ending)
    for number in range(1, 10_000):
        target = wanted if number == 1 else wanted.with_name(f"{stem}-{number}{ending}")
        try:
            target.open("xb").close()  # fails where the name is taken, also just now by somebody else
        except FileExistsError:
            if _same(temporary, target):
                return target
        else:
            temporary.replace(target)
            return target
    raise InvalidDataError(f"{wanted.parent} holds too many files called {wanted.name}; delete those not needed.")


def _same(one: Path, other: Path) -> bool:
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(2**20):
            if chunk != right.read(2**20):
                return False
    return True
