"""A folder with mended labels: which images move to another class folder, and carrying that out.

Nothing is ever overwritten: a name that is taken becomes another one, and a folder that is there already is refused.
"""

import os
import shutil
import tempfile
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from trak_core.datasets.rows import Example
from trak_core.datasets.sources import open_source, place_in_archive
from trak_core.errors import InvalidDataError, InvalidSettingError, NotInRunError
from trak_core.exchange.cleaned import Cleaning, Mended
from trak_core.store.files import check_new_file, replace_file, storage_errors

LEFT_OUT = "excluded"
"""Ending of the folder beside a folder that is mended in place, where images go that are left out of it."""


@dataclass(frozen=True)
class Move:
    """An image that lies in the folder of another class than it should."""

    train_idx: int  # its number in the run
    source: str  # where it lies, below the folder given
    target: str | None  # where it belongs; None where it is to be left out
    is_renamed: bool = False  # whether its name is another one there, because its own is taken


def moves_of(cleaning: Cleaning) -> tuple[Move, ...]:
    """Where the images belong whose labels are to be mended, in the order of their numbers.

    Raises:
        InvalidDataError: a file cannot be told from another by its name, or the folder cannot be read any more.
        NotInRunError: the labels of the images are not the names of their folders.
    """
    path = cleaning.source.data.path
    with open_source(path) as files:
        counts = Counter(item.where for item in files if isinstance(item, Example))
        everything = {_alike(item.where) for item in files}
    for one in cleaning.mended:
        if counts[one.origin] != 1:
            raise InvalidDataError(
                f"{path} has {counts[one.origin]} files that are called {one.origin!r} where names are read as UTF-8, "
                "and one of them was found to be labelled wrong; rename them, then build the run again."
            )
    folders = _ClassFolders(cleaning)
    taken = everything - {_alike(one.origin) for one in cleaning.mended}
    return tuple(_move(one, folders, taken) for one in cleaning.mended)


def moves_table(moves: Sequence[Move]) -> pd.DataFrame:
    """The moves, a row each: train_idx, from, to (missing for what is left out), is_renamed."""
    table = pd.DataFrame(list(map(asdict, moves)), columns=list(Move.__dataclass_fields__))
    return table.rename(columns={"source": "from", "target": "to"})


def _move(one: Mended, folders: "_ClassFolders", taken: set[str]) -> Move:
    if one.new_label is None:
        return Move(one.train_idx, one.origin, None)
    wanted = folders.place(one)
    stem, ending = os.path.splitext(wanted)
    free, number = wanted, 1
    while _alike(free) in taken:
        number += 1
        free = f"{stem}-{number}{ending}"
    taken.add(_alike(free))
    return Move(one.train_idx, one.origin, free, free != wanted)


def _alike(name: str) -> str:
    """What two names share that some disks take for the same."""
    return unicodedata.normalize("NFC", name).casefold()


class _ClassFolders:
    """Which part of a path is the folder of the class, and how those folders are called."""

    def __init__(self, cleaning: Cleaning) -> None:
        raw = cleaning.source.raw
        origins = raw.train.origins or []
        labels = [raw.class_names[label] for label in raw.train.labels.tolist()]
        paths = [origin.split("/") for origin in origins]
        depth = min(map(len, paths)) - 1
        told = (at for by in (_are_called_so, _are_one_each) for at in range(depth) if by(paths, labels, at))
        self.place_of_class = next(told, -1)
        if self.place_of_class < 0:
            raise NotInRunError(
                f"the labels of the images in {cleaning.source.data.path} do not stand in the names of their folders, "
                f"so that no move mends them; write them with `python -m trak_core labels {cleaning.run_name} "
                "labels.csv`."
            )
        # What the folder of a class is called, below the folders above it and anywhere.
        self.names: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for path, label in zip(paths, labels, strict=True):
            folder = path[self.place_of_class]
            self.names[(*path[: self.place_of_class], label)][folder] += 1
            self.names[(label,)][folder] += 1

    def place(self, one: Mended) -> str:
        """The path of an image in the folder of its new class."""
        path = one.origin.split("/")
        above, new = path[: self.place_of_class], str(one.new_label)
        known = self.names.get((*above, new)) or self.names[(new,)]
        return "/".join([*above, known.most_common(1)[0][0], *path[self.place_of_class + 1 :]])


def _are_called_so(paths: Sequence[Sequence[str]], labels: Sequence[str], at: int) -> bool:
    """Whether the folders at a depth hold one class each and bear its name, perhaps with other words around it."""
    held: dict[tuple[str, ...], str] = {}
    return all(
        _letters(label) in _letters(path[at]) and held.setdefault(tuple(path[: at + 1]), label) == label
        for path, label in zip(paths, labels, strict=True)
    )


def _are_one_each(paths: Sequence[Sequence[str]], labels: Sequence[str], at: int) -> bool:
    """Whether there is one folder for each class at a depth, whatever it is called, as n01443537 is for goldfish."""
    pairs = {(path[at], label) for path, label in zip(paths, labels, strict=True)}
    return len(pairs) == len({folder for folder, _ in pairs}) == len({label for _, label in pairs})


def _letters(name: str) -> str:
    """A name without what parts its words; the whole where it has no letters."""
    return "".join(sign for sign in name.casefold() if sign.isalnum()) or name


# --- carrying it out ----------------------------------------------------------------------------------------------


def copy_moved(path: Path, moves: Sequence[Move], to: Path) -> None:
    """Copies a folder, or a zip file of one, with its images where they belong and without those that are left out.

    The copy is there in one step, or not at all; links stay links.

    Raises:
        InvalidDataError: a file is not there any more.
        InvalidSettingError: the new folder or file is there already, has no folder, or is no zip file like the data.
        StorageError: it cannot be written, because the disk is full, say.
    """
    if path.is_file():
        if to.suffix.lower() != ".zip":
            raise InvalidSettingError(f"{path} is a zip file, and so is what is written; {to} should end in .zip.")
        check_new_file(to, overwrite=False)
        replace_file(to, lambda temporary: _pack_moved(path, moves, temporary))
        return
    with new_folder(path, to) as new:
        places = _places_on_disk(path)
        gone = {os.fsencode(_found(places, path, move.source)) for move in moves}
        shutil.copytree(
            path,
            new,
            symlinks=True,
            ignore=lambda folder, names: [one for one in names if os.fsencode(os.path.join(folder, one)) in gone],
        )
        for move in moves:
            if move.target is not None:
                target = _on_disk(new, move, places, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(_found(places, path, move.source), target, follow_symlinks=False)


def move_in_place(path: Path, moves: Sequence[Move]) -> Path | None:
    """Moves images within their folder; those that are left out go to a folder beside it, which is given back.

    What cannot be moved brings everything back to where it was.

    Raises:
        InvalidDataError: a file is not there any more.
        InvalidSettingError: the data are a zip file, or there is something where an image should go.
        StorageError: the disk may not be written.
    """
    if path.is_file():
        raise InvalidSettingError(f"{path} is a zip file, and cannot be mended in place; write a new one with --to.")
    aside = path.with_name(f"{path.resolve().name}-{LEFT_OUT}") if any(move.target is None for move in moves) else None
    places = _places_on_disk(path)
    steps = []
    for move in moves:
        source = _found(places, path, move.source)
        below = path if move.target is not None else aside
        assert below is not None
        steps.append((source, _on_disk(below, move, places, path)))
    moving, wanted = ({os.fsencode(step[end]) for step in steps} for end in (0, 1))
    for _, target in steps:
        if os.path.lexists(target) and os.fsencode(target) not in moving:
            raise InvalidSettingError(f"{target} is there already and is not overwritten; move it away.")
    done: list[tuple[Path, Path]] = []
    with storage_errors(path), tempfile.TemporaryDirectory(dir=path, prefix=".moving-") as waiting:
        first: list[tuple[Path, Path]] = []
        for number, (source, target) in enumerate(steps):
            if os.fsencode(source) in wanted:  # it makes room before another image takes its place
                first.append((source, Path(waiting) / str(number)))
                steps[number] = (first[-1][1], target)
        try:
            for source, target in [*first, *steps]:
                target.parent.mkdir(parents=True, exist_ok=True)
                source.rename(target)
                done.append((source, target))
        except BaseException:
            for source, target in reversed(done):
                target.rename(source)
            raise
    return aside


@contextmanager
def new_folder(path: Path, to: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name once it is whole; what was written is taken away where that fails."""
    if os.path.lexists(to):
        raise InvalidSettingError(f"{to} is there already and was not changed; name a folder that is not there yet.")
    if not to.parent.is_dir():
        raise InvalidSettingError(f"there is no folder {to.parent}; make it first, or choose another place.")
    if to.resolve().is_relative_to(path.resolve()):
        raise InvalidSettingError(f"{to} lies in the folder that is copied; choose another place.")
    new = to.with_name(f".{to.name}.new")
    with storage_errors(to):
        shutil.rmtree(new, ignore_errors=True)  # of a copy that was killed
        try:
            try:
                yield new
            except shutil.Error as error:  # a list of what went wrong, of which the first is the reason
                raise OSError(str(error.args[0][0][-1])) from error
            new.rename(to)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def _places_on_disk(path: Path) -> dict[str, Path]:
    """The files of a folder, and the folders that they lie in, by their names as origins have them."""
    places: dict[str, Path] = {}
    with open_source(path) as files:
        for item in files:
            if isinstance(item, Example):
                file = Path(item.content())
                places[item.where] = file
                for part, folder in zip(
                    _folders(item.where), reversed(file.relative_to(path).parents[:-1]), strict=True
                ):
                    places.setdefault(part, path / folder)
    return places


def _folders(where: str) -> list[str]:
    """The folders that a file lies in, from the outermost."""
    parts = where.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _found(places: Mapping[str, Path], path: Path, where: str) -> Path:
    if where not in places:
        raise InvalidDataError(f"{path} has no file {where} any more; nothing was written.")
    return places[where]


def _on_disk(below: Path, move: Move, places: Mapping[str, Path], path: Path) -> Path:
    """Where an image goes: it and its folders are called on the disk as they are in the data, whatever the encoding."""
    *parts, name = (move.target or move.source).split("/")
    if not move.is_renamed:
        name = places[move.source].name
    known = next((n for n in range(len(parts), 0, -1) if "/".join(parts[:n]) in places), 0)
    folder = places["/".join(parts[:known])].relative_to(path) if known else Path()
    return below.joinpath(folder, *parts[known:], name)


def _pack_moved(path: Path, moves: Sequence[Move], to: Path) -> None:
    moved = {move.source: move.target for move in moves}
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(to, "w") as new:
        for member in archive.infolist():
            where = place_in_archive(member)
            if where in moved and moved[where] is None:
                continue
            told = copy(member)
            if (target := moved.get(where)) is not None:
                told.filename = target
            with archive.open(member) as content, new.open(told, "w") as packed:
                shutil.copyfileobj(content, packed)
