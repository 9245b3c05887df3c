"""Well-known data sets by name: fetched once, checked by SHA-256, and taken up again where a download broke off.

By hand, because the usual package, pooch, begins every download anew, takes in whatever a server sends until the
checksum at the end, and takes no folder as a mirror.

The checksums are those that the makers publish or that several public projects agree on; for Fashion-MNIST and CIFAR-10
they belong to files with the MD5 sums of the data sets' own pages.
"""

import difflib
import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import IO, BinaryIO, cast

from filelock import FileLock

from trak_core.errors import DownloadError, InvalidSettingError
from trak_core.store.files import storage_errors

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as gone."""
BLOCK = 2**18
MAX_MEMBERS = 100
"""Of an archive; more would be another one."""
_WEB = ("http://", "https://")


@dataclass(frozen=True)
class RemoteFile:
    """A file as it should come."""

    name: str  # of the file, below the address of its collection and in the folder it is put into
    n_bytes: int  # its size
    sha256: str  # in hexadecimal digits


@dataclass(frozen=True)
class Collection:
    """The files of a data set."""

    base: str  # address of the folder they lie in, with a slash at the end
    files: tuple[RemoteFile, ...]  # all of them
    # the size of each file that is taken out of an archive, by its name there. Archives do not stay.
    members: Mapping[str, int] = field(default_factory=dict)


def _files(table: str) -> tuple[RemoteFile, ...]:
    """The files of a table with a name, a size and a checksum in each line."""
    rows = (line.split() for line in table.strip().splitlines())
    return tuple(RemoteFile(name, int(n_bytes), sha256) for name, n_bytes, sha256 in rows)


COLLECTIONS: dict[str, Collection] = {
    "fashion-mnist": Collection(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        _files("""
        train-images-idx3-ubyte.gz 26421880 3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
        train-labels-idx1-ubyte.gz 29515    a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
        t10k-images-idx3-ubyte.gz  4422102  346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
        t10k-labels-idx1-ubyte.gz  5148     67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5
        """),
    ),
    "cifar-10": Collection(
        "https://www.cs.toronto.edu/~kriz/",
        _files("cifar-10-binary.tar.gz 170052171 c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        {
            **{f"cifar-10-batches-bin/data_batch_{number}.bin": 30_730_000 for number in range(1, 6)},
            "cifar-10-batches-bin/test_batch.bin": 30_730_000,
            "cifar-10-batches-bin/batches.meta.txt": 61,
        },
    ),
    "ag-news": Collection(
        "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv/",
        _files("""
        train.csv 29470338 76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e
        test.csv  1857427  521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699
        """),
    ),
}


def download(
    name: str,
    directory: Path | str,
    mirror: str | Path | None = None,
    on_progress: Callable[[int, int], object] = lambda n_done, n_bytes: None,
) -> Path:
    """The folder with the files of a data set, `directory/name`; what is there already is not fetched again.

    Args:
        name: "fashion-mnist" (four idx files), "cifar-10" (the binary version, unpacked) or "ag-news" (two CSV files
            without a header: class, title, description).
        directory: for all data sets.
        mirror: address (http or https) or folder that has the files under the same names.
        on_progress: called with the bytes there are and the bytes of all files.

    Raises:
        DownloadError: a file cannot be fetched, or is not the one expected; what came of it is kept to go on from.
        InvalidSettingError: there is no data set of that name, or the mirror is neither of the two.
        StorageError: the disk is full, read-only or failing.
    """
    if name not in COLLECTIONS:
        near = difflib.get_close_matches(name, COLLECTIONS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidSettingError(f"no data set {name!r} to download; there are: {', '.join(COLLECTIONS)}.{hint}")
    collection = COLLECTIONS[name]
    base = _base(collection.base if mirror is None else mirror)
    folder = Path(directory) / name
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not _has_members(folder, collection):
                _fetch_all(collection, folder, base, on_progress)
                if collection.members:
                    for file in collection.files:
                        _unpack(folder / file.name, folder, collection.members)
                        (folder / file.name).unlink()
    return folder


def _base(mirror: str | Path) -> str:
    """The address or folder to which names of files are added, with a slash at the end."""
    if isinstance(mirror, str) and mirror.startswith(_WEB):
        return f"{mirror.rstrip('/')}/"
    if not Path(mirror).is_dir():
        raise InvalidSettingError(
            f"mirror is {str(mirror)!r}, which is no folder; give one, or an address that begins with https://."
        )
    return f"{Path(mirror)}/"


def _has_members(folder: Path, collection: Collection) -> bool:
    paths = {folder / Path(member).name: n_bytes for member, n_bytes in collection.members.items()}
    return bool(paths) and all(path.is_file() and path.stat().st_size == n_bytes for path, n_bytes in paths.items())


def _fetch_all(collection: Collection, folder: Path, base: str, on_progress: Callable[[int, int], object]) -> None:
    n_before, n_bytes = 0, sum(file.n_bytes for file in collection.files)

    def on_bytes(n_done: int) -> None:
        on_progress(n_before + n_done, n_bytes)

    for file in collection.files:
        path = folder / file.name
        if not (path.is_file() and _is_right(path, file)):
            _fetch(file, path, base, on_bytes)
        n_before += file.n_bytes
        on_progress(n_before, n_bytes)


def _fetch(file: RemoteFile, path: Path, base: str, on_bytes: Callable[[int], object]) -> None:
    """Puts a file in its place once it is whole and right."""
    part = path.with_name(f".{file.name}.part")
    # What is left of an earlier attempt may be of something else; only a download in one piece proves the source wrong.
    for _ in range(2 if part.exists() else 1):
        _receive(file, part, base, on_bytes)
        if _is_right(part, file):
            os.replace(part, path)
            return
        part.unlink()
    raise _not_expected(file, base)


def _receive(file: RemoteFile, part: Path, base: str, on_bytes: Callable[[int], object]) -> None:
    """Appends what is missing to a part, or begins anew where the source cannot go on."""
    n_there = part.stat().st_size if part.exists() else 0
    n_done = n_there if n_there < file.n_bytes else 0
    for begin, block in _blocks(file, base, n_done):
        with part.open("ab") as kept:
            kept.truncate(begin)
            kept.write(block)
        n_done = begin + len(block)
        on_bytes(min(n_done, file.n_bytes))
    part.touch()  # also where the file is empty
    if n_done < file.n_bytes:
        raise DownloadError(
            f"the download of {base}{file.name} broke off after {n_done:,} of {file.n_bytes:,} bytes; give the same "
            "command again to go on."
        )


def _blocks(file: RemoteFile, base: str, start: int) -> Iterator[tuple[int, bytes]]:
    """Where each block of a file begins, and its content, from `start` on or from where the source is willing to begin.

    Errors are of the source alone: those of whoever takes the blocks, as of the disk, do not pass through here.

    Raises:
        DownloadError: the source does not have the file, cannot be reached, or has another file.
    """
    address = base + file.name
    try:
        with _open(address, start) as (source, n_done, n_bytes):
            if n_bytes is not None and n_bytes != file.n_bytes:
                raise _not_expected(file, base)
            # One byte too many is enough to see that this is another file.
            while block := source.read(min(BLOCK, file.n_bytes + 1 - n_done)):
                yield n_done, block
                n_done += len(block)
    except DownloadError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # The file there is shorter than what came before: perhaps it is the right one now.
            yield from _blocks(file, base, 0)
            return
        raise DownloadError(
            f"{address} is unavailable (the server says {error.code} {error.reason}); try again later, or name a "
            "mirror that has it."
        ) from error
    except (OSError, HTTPException) as error:
        if not base.startswith(_WEB):
            raise DownloadError(
                f"{address} cannot be opened ({getattr(error, 'strerror', error)}); check the mirror."
            ) from error
        raise DownloadError(
            f"{address} cannot be reached ({getattr(error, 'reason', None) or error}); check the connection and give "
            "the same command again, or name a mirror, which may be a folder that has the file."
        ) from error


@contextmanager
def _open(address: str, start: int) -> Iterator[tuple[IO[bytes], int, int | None]]:
    """A file, where its content begins, and its size if that is told."""
    if not address.startswith(_WEB):
        with open(address, "rb") as source:
            source.seek(start)
            yield source, start, os.fstat(source.fileno()).st_size
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        begin = start if response.status == HTTPStatus.PARTIAL_CONTENT else 0
        n_coming = response.headers.get("Content-Length")
        yield response, begin, None if n_coming is None else begin + int(n_coming)


def _is_right(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.n_bytes:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _not_expected(file: RemoteFile, base: str) -> DownloadError:
    return DownloadError(
        f"{base}{file.name} is not the file expected ({file.n_bytes:,} bytes, SHA-256 {file.sha256[:12]}...) and is "
        "not used; name a mirror that has it."
    )


def _unpack(archive: Path, folder: Path, members: Mapping[str, int]) -> None:
    """Takes the files asked for out of an archive and puts them into the folder.

    Only plain files of the expected names and sizes are written, under the last part of their names, so that nothing
    climbs out, links elsewhere or grows beyond them.

    Raises:
        DownloadError: one is missing or has another size, or the archive is damaged or another one.
    """
    missing = dict(members)
    try:
        with tarfile.open(archive, "r:gz") as packed:
            for number, member in enumerate(packed):
                if number >= MAX_MEMBERS or member.size > max(members.values()):
                    break
                if member.isfile() and missing.get(member.name) == member.size:
                    part = folder / f".{Path(member.name).name}.part"
                    with cast("BinaryIO", packed.extractfile(member)) as content, part.open("wb") as kept:
                        shutil.copyfileobj(content, kept, BLOCK)
                    os.replace(part, folder / Path(member.name).name)
                    del missing[member.name]
                if not missing:
                    return
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DownloadError(f"{archive} is damaged ({error}); remove it and give the same command again.") from error
    raise DownloadError(
        f"{archive} has no {next(iter(missing))} of the right size; remove it and give the same command again."
    )
