"""A run as one file: a zip with the store, the checkpoints, the reviews, and a manifest with the SHA-256 of each.

What comes back in may have been cut short, changed or made to do harm. So nothing of it is believed: members must bear
names that a run has, have the sizes and the content that the manifest says, and together give a store that opens. All
of that happens in a hidden directory beside the runs, which takes the name of the run in one step.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import duckdb

from trak_core.errors import (
    InvalidSettingError,
    RunNotFoundError,
    StorageError,
    StoreDamagedError,
    StoreVersionError,
    TrakCoreError,
)
from trak_core.store.catalog import check_run_name
from trak_core.store.files import RunFiles, check_new_file, replace_file, storage_errors
from trak_core.store.review_file import ReviewFile
from trak_core.store.run import Run, open_run
from trak_core.store.schema import ORDER_BY, SCHEMA_VERSION

ARCHIVE_VERSION = 1
MANIFEST = "manifest.json"
MAX_MEMBERS = 5_000
MAX_MANIFEST_BYTES = 2_000_000
CHUNK = 1 << 20
STAGING = ".import-"
_FORMAT = "trak-run"
_MEMBER = re.compile(r"store\.duckdb|reviews\.duckdb|checkpoints/(?:model|log)_[0-9]{1,9}\.safetensors")
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError)


@dataclass(frozen=True)
class Member:
    """A file of the archive: its size in bytes and its SHA-256 (hex)."""

    bytes: int
    sha256: str


# --- out ----------------------------------------------------------------------------------------------------


def run_bytes(run_dir: Path) -> int:
    """Bytes of the files that an export of the run would hold."""
    return sum(path.stat().st_size for path in _exported(run_dir) if path.exists())


def _exported(run_dir: Path) -> list[Path]:
    files = RunFiles(run_dir)
    weights = [path for path in sorted(files.checkpoints.glob("*")) if _MEMBER.fullmatch(f"checkpoints/{path.name}")]
    return [files.store, *weights, files.reviews]


def export_run(run_dir: Path, target: Path, force: bool = False) -> Path:
    """Writes a published run as one file, and returns where it is.

    Reviews are taken as they are at one moment. What a build has not published yet stays out. The same run gives the
    same bytes, and a file that cannot be finished leaves nothing behind. A file that is there is replaced by `force`.

    Raises:
        InvalidSettingError: the target is there already, or has no directory.
        RunNotFoundError: the run went away.
        StorageError: the disk is full or may not be written.
        StoreDamagedError: the run cannot be read, or its checkpoints are not those that its scores were made with.
    """
    check_new_file(target, force)
    with open_run(run_dir) as run:
        replace_file(target, lambda temporary: _write_archive(run, temporary))
    return target


def _write_archive(run: Run, path: Path) -> None:
    files, members = RunFiles(run.path), dict[str, Member]()
    reviews = path.with_name(f"{path.name}.reviews")  # beside the target, where there was meant to be room
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for source in _exported(run.path):
                name = str(source.relative_to(run.path))
                if source != files.reviews:
                    # The store that was opened, which lies elsewhere where an older one could not be upgraded.
                    members[name] = _pack(archive, name, run.store_file if source == files.store else source)
                elif ReviewFile(run.path).copy_to(reviews):
                    members[name] = _pack(archive, name, reviews)
            _check_checkpoints(run, members)
            manifest = {
                "format": _FORMAT,
                "version": ARCHIVE_VERSION,
                "name": run.path.name,
                "schema_version": SCHEMA_VERSION,
                "files": {name: asdict(member) for name, member in members.items()},
            }
            archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(manifest, indent=1))
    except FileNotFoundError as error:
        raise RunNotFoundError(f"run {run.path.name!r} was moved or deleted while it was being exported.") from error
    finally:
        reviews.unlink(missing_ok=True)


def _pack(archive: zipfile.ZipFile, name: str, source: Path) -> Member:
    with source.open("rb") as original:
        info = zipfile.ZipInfo(name)  # no date of its own: the same run gives the same bytes
        info.file_size = os.fstat(original.fileno()).st_size
        with archive.open(info, "w") as packed:
            return _copy(original, packed, limit=None)


def _copy(source: IO[bytes], target: IO[bytes], limit: int | None) -> Member:
    """Copies all of `source`, but never more than one chunk beyond `limit` bytes."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        size += len(chunk)
        if limit is not None and size > limit:
            break
        digest.update(chunk)
        target.write(chunk)
    return Member(size, digest.hexdigest())


def _check_checkpoints(run: Run, members: dict[str, Member]) -> None:
    """Refuses weights that are not those that the scores of the store were made with."""
    for checkpoint_id, sha256 in run.rows("SELECT checkpoint_id, sha256 FROM checkpoints ORDER BY 1"):
        member = members.get(f"checkpoints/model_{checkpoint_id}.safetensors")
        if member is None or member.sha256 != sha256:
            found = "is missing" if member is None else "has other content than the scores were made with"
            raise StoreDamagedError(
                f"checkpoint {checkpoint_id} of run {run.path.name!r} {found}; restore it from a copy, or build the "
                "run again under another name."
            )


# --- in -----------------------------------------------------------------------------------------------------


def default_limit(archive_bytes: int) -> int:
    """The most bytes that a file of this size may unpack to: honest runs hardly shrink."""
    return max(1 << 30, 20 * archive_bytes)


def import_run(file: Path | BinaryIO, runs_dir: Path, name: str | None = None, max_bytes: int | None = None) -> Path:
    """Opens a file that `export_run` wrote as a run among the others, and returns its directory.

    Nothing is seen of the run before all of it was checked; a bad file leaves nothing behind. The run has the name that
    it was exported under by default, and may unpack to `default_limit` bytes.

    Raises:
        InvalidSettingError: there is no such file, or the name will not do or is taken.
        StorageError: the disk is full or may not be written.
        StoreDamagedError: the file is not a run, or was cut short or changed.
        StoreVersionError: another version of this program wrote it.
    """
    label = str(file) if isinstance(file, Path) else str(getattr(file, "name", "the file"))
    try:
        opened: AbstractContextManager[BinaryIO] = file.open("rb") if isinstance(file, Path) else nullcontext(file)
    except OSError as error:
        raise InvalidSettingError(
            f"cannot read {label} ({error.strerror}); give the path of an exported run."
        ) from error
    with opened as source, _refusing(label), zipfile.ZipFile(source) as archive:
        limit = default_limit(source.seek(0, os.SEEK_END)) if max_bytes is None else max_bytes
        members, manifest = _inspect(archive, limit)
        chosen = check_run_name(manifest["name"] if name is None else name)
        with _staging(runs_dir, chosen, sum(member.bytes for member in members.values())) as staged:
            _unpack(archive, members, staged)
            _check_run(staged, members)
            return _publish(staged, runs_dir / chosen)


@contextmanager
def _refusing(label: str) -> Iterator[None]:
    try:
        yield
    except TrakCoreError:
        raise
    except _BROKEN as error:
        raise StoreDamagedError(
            f"{label} is no exported run, or it is damaged ({error or type(error).__name__}); export the run again and "
            "fetch the whole file. Nothing was added."
        ) from error


def _inspect(archive: zipfile.ZipFile, max_bytes: int) -> tuple[dict[str, Member], dict[str, Any]]:
    """The members by name and the manifest, when names and sizes are in order; nothing is unpacked yet."""
    entries = {info.filename: info for info in archive.infolist()}
    if len(entries) != len(archive.infolist()) or len(entries) > MAX_MEMBERS:
        raise ValueError("it holds a name twice, or too many files")
    for name, info in entries.items():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if name != MANIFEST and not _MEMBER.fullmatch(name):
            raise ValueError(f"it holds {name[:100]!r}, which no run has")
        if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
            raise ValueError(f"{name} is a link or encrypted")
        # Python unpacks the other ways of packing without end, whatever size is stated.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is packed in another way than deflate")
    if MANIFEST not in entries:
        raise ValueError(f"it has no {MANIFEST}")
    if entries[MANIFEST].file_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"its {MANIFEST} is too large")
    manifest = json.loads(archive.read(MANIFEST))
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ValueError(f"its {MANIFEST} is not that of a run")
    _check_version(manifest.get("version"))
    try:
        members = {name: Member(**listed) for name, listed in manifest["files"].items()}
        complete = isinstance(manifest["name"], str) and "store.duckdb" in members
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its {MANIFEST} is incomplete") from error
    if not complete or members.keys() != entries.keys() - {MANIFEST}:
        raise ValueError(f"its files are not those that its {MANIFEST} lists")
    for name, member in members.items():
        if not isinstance(member.bytes, int) or member.bytes != entries[name].file_size:
            raise ValueError(f"{name} has another size than its {MANIFEST} says")
    total = sum(member.bytes for member in members.values())
    if total > max_bytes:
        raise ValueError(f"it would unpack to {total:,} bytes, more than the {max_bytes:,} that such a file may hold")
    return members, manifest


def _check_version(version: object) -> None:
    if version == ARCHIVE_VERSION:
        return
    newer = isinstance(version, int) and version > ARCHIVE_VERSION
    raise StoreVersionError(
        f"the file has format version {version!r}, and this program reads version {ARCHIVE_VERSION}; "
        f"{'update this program' if newer else 'export the run again'} to open it. Nothing was added."
    )


@contextmanager
def _staging(runs_dir: Path, name: str, n_bytes: int) -> Iterator[Path]:
    """A hidden directory beside the runs that goes away with everything in it, also those that a kill left behind."""
    with storage_errors(runs_dir):
        runs_dir.mkdir(parents=True, exist_ok=True)
        _check_free(runs_dir / name)
        _clear_leftovers(runs_dir)
        if shutil.disk_usage(runs_dir).free < n_bytes:
            raise StorageError(
                f"{runs_dir} has no room for the {n_bytes / 1e6:,.0f} MB of this run; free some space, then try again."
            )
        outer = Path(tempfile.mkdtemp(dir=runs_dir, prefix=STAGING))
        with (outer / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a killed process holds none: whoever comes next may clear up
            try:
                yield outer / name
            finally:
                shutil.rmtree(outer, ignore_errors=True)


def _clear_leftovers(runs_dir: Path) -> None:
    for leftover in runs_dir.glob(f"{STAGING}*"):
        try:
            with (leftover / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover, ignore_errors=True)
        except OSError:  # being filled, or only just made
            continue


def _check_free(run_dir: Path) -> None:
    if run_dir.exists():
        raise InvalidSettingError(f"there is a run {run_dir.name!r} already; give this one another name with --name.")


def _unpack(archive: zipfile.ZipFile, members: dict[str, Member], run_dir: Path) -> None:
    RunFiles(run_dir).checkpoints.mkdir(parents=True)
    for name, member in members.items():
        # `name` is one of a handful of forms: it cannot lead out of the directory.
        with archive.open(name) as packed, (run_dir / name).open("wb") as file:
            if _copy(packed, file, limit=member.bytes) != member:
                raise ValueError(f"{name} has other content than its {MANIFEST} says")
            file.flush()
            os.fsync(file.fileno())


def _check_run(run_dir: Path, members: dict[str, Member]) -> None:
    """Opens what was unpacked as a reader would."""
    try:
        with open_run(run_dir) as run:
            tables = {name for (name,) in run.rows("SELECT table_name FROM duckdb_tables() WHERE NOT internal")}
            views = run.rows("SELECT view_name FROM duckdb_views() WHERE NOT internal AND database_name = 'store'")
            if views or not tables >= ORDER_BY.keys():
                raise ValueError("its store has other tables than a run")
            _check_checkpoints(run, members)
        if (run_dir / "reviews.duckdb").exists():
            ReviewFile(run_dir).rows("SELECT count(*) FROM verdicts")
    except StoreVersionError:
        raise
    except (duckdb.Error, StoreDamagedError) as error:
        raise ValueError(f"what it holds cannot be opened: {str(error).splitlines()[0]}") from error


def _publish(staged: Path, run_dir: Path) -> Path:
    try:
        staged.rename(run_dir)
    except OSError:
        _check_free(run_dir)  # somebody was quicker
        raise
    return run_dir
