"""The files below a folder or in a zip file, which is read as it lies and never unpacked to the disk.

Nothing outside is reached: links that lead out of the folder and names that climb out of the archive are left out.
"""

import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from trak_core.datasets.rows import Example
from trak_core.datasets.text_files import file_errors
from trak_core.errors import InvalidDataError
from trak_core.modalities.raw import Skipped

# What systems and programs put into folders by themselves; so are all names that begin with a dot.
CLUTTER = frozenset(("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "icon\r"))
MAX_MEMBER_BYTES = 100 * 2**20
MAX_MEMBERS = 1_000_000
CAPPED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Only these are unpacked bit by bit; Python unpacks the others (bzip2, LZMA) without end, whatever size they state."""


@contextmanager
def open_source(path: Path) -> Iterator[list[Example | Skipped]]:
    """The files of a folder or of a zip file, in natural order; the contents can be asked for while it is open.

    The content of each gives its path, or its bytes out of the archive, when it is called, from any thread; it raises
    InvalidDataError, a clause, where the archive is damaged there. What is no file or leads elsewhere is left out.

    Raises:
        InvalidDataError: there is nothing at the path, it is something else, or the archive cannot be read.
    """
    with file_errors(path):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        yield sorted(_list_folder(path), key=_in_order)
    elif is_file:
        with _open_zip(path) as archive:
            yield sorted(_list_zip(archive), key=_in_order)
    else:
        raise InvalidDataError(f"there is no folder or zip file {path}; check the path.")


def _in_order(item: Example | Skipped) -> tuple[object, ...]:
    return natural_key(tidy(item.where)), item.where


def natural_key(name: str) -> tuple[object, ...]:
    """A key that sorts "img2" before "img10", in any script, the same on every machine."""
    parts = re.split(r"([0-9]+)", name)
    # Text and digits take turns, so that only likes are compared. Digits by length: they may be too many for a number.
    digits = [(len(part.lstrip("0")), part.lstrip("0")) for part in parts[1::2]]
    pairs = zip((part.casefold() for part in parts[::2]), [*digits, (0, "")], strict=True)
    return (tuple(pairs), name)


def legible(name: str) -> str:
    """A name as it is, but for bytes that are no text: these are written out, with their numbers."""
    written = re.sub("[\udc80-\udcff]", lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", name)
    return written.encode("utf-8", "backslashreplace").decode()


def tidy(name: str) -> str:
    """A name as it is shown and compared: composed (NFC), and legible."""
    return unicodedata.normalize("NFC", legible(name))


def is_clutter(name: str) -> bool:
    """Whether a file or folder of that name was put there by a system rather than by a person."""
    return name.startswith(".") or name.casefold() in CLUTTER


def _list_folder(root: Path) -> Iterator[Example | Skipped]:
    inside = root.resolve()
    waiting = [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if not is_clutter(entry.name)]
        except OSError as error:
            yield Skipped(prefix or ".", f"this folder cannot be opened ({error.strerror})")
            continue
        for entry in found:
            where = prefix + legible(entry.name)
            if entry.is_symlink() and (why := _why_not_followed(Path(entry.path), inside)):
                yield Skipped(where, why)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append((Path(entry.path), f"{where}/"))
            elif entry.is_file():
                yield Example(where, partial(Path, entry.path))
            else:
                yield Skipped(where, "this is neither a file nor a folder")


def _why_not_followed(link: Path, inside: Path) -> str | None:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return "this link leads nowhere"
    if not target.is_relative_to(inside):
        return "this link leads out of the folder"
    return "this link leads to a folder, whose files are read where they lie" if target.is_dir() else None


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise InvalidDataError(f"{path} cannot be opened ({error.strerror}); check it.") from error
    except Exception as error:  # damaged directories raise all sorts of things
        raise InvalidDataError(
            f"{path} is neither a folder nor a zip file, or is damaged ({error}); give the folder, or pack it anew."
        ) from error
    with archive:
        n_members, n_bytes = len(archive.infolist()), sum(member.file_size for member in archive.infolist())
        most = max(2**30, 20 * path.stat().st_size)
        if n_members > MAX_MEMBERS or n_bytes > most:
            raise InvalidDataError(
                f"{path} unpacks to {n_members:,} files of {n_bytes / 2**20:,.0f} MB together, and at most "
                f"{MAX_MEMBERS:,} files of {most / 2**20:,.0f} MB are read from it; unpack it and give the folder."
            )
        yield archive


def _list_zip(archive: zipfile.ZipFile) -> Iterator[Example | Skipped]:
    seen: set[str] = set()
    for member in archive.infolist():
        name = _name(member)
        where = place_in_archive(member)
        if member.is_dir() or any(is_clutter(part) for part in where.split("/") if part != ".."):
            continue
        if why := _why_not_unpacked(member, name, where in seen):
            yield Skipped(where, why)
        else:
            yield Example(where, partial(_unpacked, archive, member))
        seen.add(where)


def place_in_archive(member: zipfile.ZipInfo) -> str:
    """What a member of an archive is called among the files that `open_source` gives."""
    return "/".join(part for part in legible(_name(member)).split("/") if part not in ("", "."))


def check_packing(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuses an archive with a member that could unpack without end.

    Raises:
        InvalidDataError: there is one.
    """
    for member in archive.infolist():
        if member.compress_type not in CAPPED:
            raise InvalidDataError(
                f"{path}: {tidy(member.filename)!r} is packed in another way than deflate; write the file anew with "
                "numpy.savez or numpy.savez_compressed."
            )


def _name(member: zipfile.ZipInfo) -> str:
    """The name of a member; many programs write UTF-8 and do not say so."""
    name = member.filename
    if not member.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return name.replace("\\", "/")


def _why_not_unpacked(member: zipfile.ZipInfo, name: str, is_repeated: bool) -> str | None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
        return "its name leads out of the archive"
    if kind not in (0, stat.S_IFREG):
        return "this is a link" if kind == stat.S_IFLNK else "this is neither a file nor a folder"
    if member.flag_bits & 0x1:
        return "this file is encrypted"
    if member.compress_type not in CAPPED:
        return "this file is packed in another way than deflate"
    if member.file_size > MAX_MEMBER_BYTES:
        n_mb, most = member.file_size / 2**20, MAX_MEMBER_BYTES // 2**20
        return f"this file unpacks to {n_mb:,.0f} MB, and at most {most} MB are read"
    if is_repeated:
        return "the archive holds this name twice"
    if name.casefold().endswith((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")):
        return "this is an archive inside the archive"
    return None


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as packed:
            return packed.read(MAX_MEMBER_BYTES)  # never gives more than the size that was checked
    except Exception as error:  # as many kinds as there are ways to pack
        raise InvalidDataError(f"this file is damaged in the archive ({type(error).__name__})") from error
