"""Files that people hand over through a browser, kept where builds can read them again."""

import filecmp
import os
import re
import shutil
import unicodedata
from pathlib import Path
from typing import IO

from trak_core.datasets.sources import open_source
from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.store.files import storage_errors

LONGEST_NAME = 120
"""Bytes: disks take 255 or less, and what makes a name free or temporary is added."""


def keep_upload(file: IO[bytes], name: str, folder: Path) -> Path:
    """Keeps a file under its name, and returns where; a file that is there already with that content serves again.

    An archive is kept packed: `read_image_folder` reads it as it lies, so that nothing in it can climb out, lead
    elsewhere or expand without end on the disk.

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
                try:
                    with open_source(temporary):
                        pass
                except InvalidDataError as error:
                    raise InvalidDataError(str(error).replace(str(temporary), name)) from error
            return _under_free_name(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def _harmless(name: str) -> str:
    """The name without folders and without signs that mean something to systems; in any script."""
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    # Many scripts write vowels as marks.
    plain = "".join(sign if sign.isalnum() or sign in "_.-" or _is_mark(sign) else "/" for sign in last)
    plain = re.sub("/+", "-", plain).strip(".-")
    # Its end, where it says what the file is; a letter that is cut in two is dropped with the marks that stand on it.
    cut = plain.encode()[-LONGEST_NAME:].decode(errors="ignore")
    while cut and (cut[0] in ".-" or _is_mark(cut[0])):
        cut = cut[1:]
    return cut or "upload"


def _is_mark(sign: str) -> bool:
    return unicodedata.category(sign).startswith("M")


def _under_free_name(temporary: Path, wanted: Path) -> Path:
    """Gives the file its name, or the next free one; never one that is taken."""
    ending = "".join(wanted.suffixes[-2:]) if wanted.suffix == ".gz" else wanted.suffix
    stem = wanted.name.removesuffix(ending)
    for number in range(1, 10_000):
        target = wanted if number == 1 else wanted.with_name(f"{stem}-{number}{ending}")
        try:
            target.open("xb").close()  # fails where the name is taken, also just now by somebody else
        except FileExistsError:
            if target.is_file() and filecmp.cmp(temporary, target, shallow=False):
                return target
        else:
            temporary.replace(target)
            return target
    raise InvalidDataError(f"{wanted.parent} holds too many files called {wanted.name}; delete those not needed.")
