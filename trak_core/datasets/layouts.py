"""Which class and which split the folders say that each image is of.

A layout is told from names alone, level by level from the outermost folder: splits with classes in them, classes with
splits in them, folders named after both, folds, and folders of classes. What surrounds them is passed through.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trak_core.datasets.folder_names import (
    are_parts,
    fold_in,
    is_about_images,
    is_aside,
    is_container,
    is_fold_word,
    names_no_class,
    pure_split,
    quoted,
    split_in,
)
from trak_core.datasets.placing import split_kind
from trak_core.errors import InvalidDataError

NO_CLASS = "this image lies in no class folder"
NO_SPLIT = "this image lies in neither the train nor the test folder"
UNUSED = ""
"""The reason of images that a note speaks of."""
Paths = Sequence[Sequence[str]]
"""The folders and the name of each image, from the outermost on."""


@dataclass(frozen=True)
class Place:
    """What the folders say of one image."""

    label: str | None = None  # the name of its class; None where they do not say
    split: str | None = None  # "train", "test" or "validation"; None where there are no splits
    why: str = NO_CLASS  # where there is no label


@dataclass(frozen=True)
class Layout:
    """What the folders say of all images."""

    places: list[Place]  # of each image
    notes: list[str] = field(default_factory=list)  # what was decided, a sentence each
    above: tuple[str, ...] = ()  # the folders around it all
    # the outermost folders below these, and whether they are what classes are called after, to tell what they are
    tops: tuple[str, ...] = ()
    has_classes: bool = True  # whether some folder is called after a class, rather than after a split or its contents


def find_layout(paths: Paths, source: str) -> Layout:
    """What folders say of the images in them.

    Raises:
        InvalidDataError: there are folds that each have a split of their own.
    """
    above: list[str] = []
    while True:
        depth = len(above)
        inner = {row: list(path[depth:]) for row, path in enumerate(paths) if list(path[:depth]) == above}
        level = _Level(inner)
        for read in (_splits, _classes_with_splits, _folds, _split_in_class, _parts):
            if (found := read(level, source)) is not None:
                return _whole(found, level, above, len(paths))
        further = _only_way_on(level)
        if further is None:
            return _whole(_class_folders(level), level, above, len(paths))
        above.append(further)


class _Level:
    """The images below one folder."""

    def __init__(self, inner: Mapping[int, list[str]]) -> None:
        self.inner = inner  # the path of each, by its row
        self._below: defaultdict[str, list[list[str]]] = defaultdict(list)
        for path in inner.values():
            if len(path) > 1:
                self._below[path[0]].append(path[1:])
        self.tops = sorted(self._below)
        self.deep = {path[0] for path in inner.values() if len(path) > 2}  # those with folders in them

    def below(self, top: str) -> list[list[str]]:
        """The paths in one of the folders."""
        return self._below.get(top, [])

    def folders_in(self, top: str) -> set[str]:
        """The names of the folders in one of the folders."""
        return {path[0] for path in self.below(top) if len(path) > 1}


_Found = tuple[dict[int, Place], list[str]]


def _only_way_on(level: _Level) -> str | None:
    """The folder that is passed through: the only one, or the only one of images beside masks and the like."""
    if len(level.tops) == 1:
        return level.tops[0] if level.deep else None
    if not level.tops or not all(map(names_no_class, level.tops)):
        return None
    holders = [top for top in level.tops if is_container(top) and len(level.folders_in(top)) > 1]
    return holders[0] if len(holders) == 1 else None


def _splits(level: _Level, source: str) -> _Found | None:
    """Train and test folders with class folders in them.

    Folders that bear the names of splits are taken as splits if there are folders in them, because "train" may as
    well be a class.
    """
    named = {top: found for top in level.tops if (found := split_in(top)) is not None}
    folds = [top for top, found in named.items() if found.kind == "train" and is_fold_word(found.rest)]
    if len(folds) > 1:
        raise InvalidDataError(
            f"{source} has several splits of the same images ({quoted(folds)} and their test images); give one of them "
            "as train and test."
        )
    for rest in sorted({found.rest.casefold() for found in named.values()}):
        split_of = {top: found.kind for top, found in named.items() if found.rest.casefold() in (rest, "")}
        kinds = {kind for top, kind in split_of.items() if top in level.deep}
        are_all = all(top in split_of or is_aside(top) for top in level.tops)
        if "train" in kinds and (len(kinds) > 1 or (not rest and are_all)):
            break
    else:
        return None
    unwrapped = {top: _wrappers(top, level) for top in split_of}
    places: dict[int, Place] = {}
    for row, path in level.inner.items():
        split = split_of.get(path[0]) if len(path) > 1 else None
        if split is None:
            places[row] = Place(why=NO_SPLIT if len(path) > 1 else NO_CLASS)
        else:
            rest_of_path = path[1 + unwrapped[path[0]] :]
            places[row] = Place(rest_of_path[0] if len(rest_of_path) > 1 else None, split)
    places = _without_odd_classes(places)
    unused: Counter[str] = Counter()
    if any(place.split == "test" and place.label is not None for place in places.values()):
        for row, place in places.items():
            if place.split == "validation":
                places[row] = Place(split="validation", why=UNUSED)
                unused[level.inner[row][0]] += 1
    notes = [f"The images in {name!r} ({n:,}) are not used; the test folder is there." for name, n in unused.items()]
    if any(split_kind(top) is None for top in split_of):
        said = "; ".join(
            f"{quoted([top for top, split in split_of.items() if split == kind])} as {kind} images"
            for kind in ("train", "test", "validation")
            if kind in split_of.values()
        )
        notes.append(f"Taken by their names: {said}.")
    return places, notes


def _wrappers(top: str, level: _Level) -> int:
    """How many folders in a split are passed through, because all lies in them: seg_train/seg_train/<class>."""
    paths, n = level.below(top), 0
    while True:
        names = {path[n] for path in paths if len(path) > n + 1}
        if len(names) != 1 or not any(len(path) > n + 2 for path in paths):
            return n
        name = names.pop()
        if name != top and not names_no_class(name):
            return n
        n += 1


def _without_odd_classes(places: dict[int, Place]) -> dict[int, Place]:
    """Images of "val/images" or "test/unknown" are of no class where no train image is of one that is called so."""
    classes = {place.label for place in places.values() if place.split == "train" and place.label is not None}
    if all(map(names_no_class, classes)):
        return places
    held_out: dict[str | None, set[str]] = defaultdict(set)
    for place in places.values():
        if place.split != "train" and place.label is not None:
            held_out[place.split].add(place.label)
    odd = {
        (split, name)
        for split, names in held_out.items()
        for name in names - classes
        if names_no_class(name) or len(names) == 1
    }
    return {row: Place(split=one.split) if (one.split, one.label) in odd else one for row, one in places.items()}


def _classes_with_splits(level: _Level, source: str) -> _Found | None:
    """Folders whose names tell class and split at once, as "cats_train" and "cats_test"."""
    named = {top: split_in(top) for top in level.tops}
    classes: dict[str, set[str]] = {"train": set(), "test": set(), "validation": set()}
    for found in named.values():
        if found is None or not found.rest:
            return None
        classes[found.kind].add(found.rest)
    held_out = classes["test"] or classes["validation"]
    if len(classes["train"]) < 2 or not held_out or not held_out <= classes["train"]:
        return None
    places = {}
    for row, path in level.inner.items():
        found = named[path[0]] if len(path) > 1 else None
        places[row] = Place() if found is None else Place(found.rest, found.kind)
    first, one = level.tops[0], next(place for place in places.values() if place.label is not None)
    return places, [
        f"The names of the folders tell class and split: {first!r} holds {one.split} images of the class {one.label!r}."
    ]


def _folds(level: _Level, source: str) -> _Found | None:
    """Folds of cross-validation with class folders in them: the last one is put aside."""
    folds = {top: fold for top in level.tops if (fold := fold_in(top)) is not None}
    if len(folds) < 2 or len(folds) < len(level.tops) or not level.deep:
        return None
    inside = {name for top in folds for name in level.folders_in(top)}
    if inside and all(map(pure_split, inside)):
        raise InvalidDataError(
            f"{source} has {len(folds)} folds ({quoted(list(folds))}), each with a split of its own of the "
            f"same images; give one of them, such as {source}/{level.tops[0]}."
        )
    last = max(folds, key=lambda top: (folds[top], top))
    places = {
        row: Place() if len(path) < 3 else Place(path[1], "test" if path[0] == last else "train")
        for row, path in level.inner.items()
    }
    return places, [_about_folds(last, len(folds))]


def _about_folds(last: str, n_folds: int) -> str:
    return (
        f"The last fold, {last!r}, was put aside as test images; the other {n_folds - 1:,} are train images. To put "
        "another one aside, name that one test and the others train."
    )


def _split_in_class(level: _Level, source: str) -> _Found | None:
    """Class folders with train and test, or folds, in each."""
    if len(level.tops) < 2 or all(map(names_no_class, level.tops)):
        return None
    inside = {path[1] for path in level.inner.values() if len(path) > 2}
    split_of = {name: split for name in inside if (split := pure_split(name)) is not None}
    folds = {name: fold for name in inside if (fold := fold_in(name)) is not None}
    if len(folds) > 1 and len(folds) == len(inside):
        last = max(folds, key=lambda name: (folds[name], name))
        split_of = {name: "test" if name == last else "train" for name in folds}
        note = _about_folds(last, len(folds))
    elif "train" in split_of.values() and len(set(split_of.values())) > 1:
        note = f"The folders {quoted(sorted(split_of))} below the class folders are the splits."
    else:
        return None
    n_outside = sum(len(path) < 3 or path[1] not in split_of for path in level.inner.values() if len(path) > 1)
    if n_outside:
        note = (
            f"Train and test images are drawn anew: the folders {quoted(sorted(split_of))} below the class folders do "
            f"not hold {n_outside:,} of the images."
        )
        split_of = {}
    _refuse_if_inner_may_be_meant(level, source)
    has_test = "test" in split_of.values()
    places = {}
    for row, path in level.inner.items():
        if len(path) < 2:
            places[row] = Place()
        elif not split_of:
            places[row] = Place(path[0])
        elif has_test and split_of[path[1]] == "validation":
            places[row] = Place(split="validation", why=UNUSED)
        else:
            places[row] = Place(path[0], split_of[path[1]])
    n_unused = sum(place.why == UNUSED for place in places.values())
    more = [f"The validation images ({n_unused:,}) are not used; there are test images."] if n_unused else []
    return places, [note, *more]


def _refuse_if_inner_may_be_meant(level: _Level, source: str) -> None:
    """Refuses splits that have folders above them and the same folders below them: either may be the classes."""
    below = [{path[1] for path in level.below(top) if len(path) > 2} for top in level.tops]
    shared = sorted(set.intersection(*below))
    if (
        all(len(path) > 2 for top in level.tops for path in level.below(top))
        and len(shared) > 1
        and not all(map(names_no_class, shared))
    ):
        raise InvalidDataError(
            f"{source}: the classes may be {quoted(level.tops)}, above the splits, or {quoted(shared)}, below them; "
            f"give one of the outer folders, such as {source}/{level.tops[0]}, or lay images out by the classes alone."
        )


def _parts(level: _Level, source: str) -> _Found | None:
    """One collection in pieces, each with class folders in it."""
    if not are_parts(level.tops) or not level.deep:
        return None
    inside = [level.folders_in(top) for top in level.tops]
    if len(set.union(*inside)) < 2 or any(map(names_no_class, set.union(*inside))):
        return None
    places = {row: Place(path[1] if len(path) > 2 else None) for row, path in level.inner.items()}
    return places, [f"The folders {quoted(level.tops)} were put together; the class folders are those in them."]


def _class_folders(level: _Level) -> _Found:
    """A folder for each class, whatever lies in it."""
    places = {row: Place(path[0] if len(path) > 1 else None) for row, path in level.inner.items()}
    inside = [level.folders_in(top) for top in level.tops]
    shared = set.intersection(*inside) if inside else set()
    notes = []
    if any(map(is_container, shared)) and (about := sorted(filter(is_about_images, shared))):
        lost = [row for row, path in level.inner.items() if len(path) > 2 and path[1] in about]
        places |= dict.fromkeys(lost, Place(why="this image lies in a folder of masks or the like"))
        notes.append(f"The images in the folders {quoted(about)} of the classes ({len(lost):,}) are not used.")
    elif len(level.tops) > 1 and len(shared) > 1:
        notes.append(
            f"Each class folder has the folders {quoted(sorted(shared))}, which are not told apart; if these are "
            "the classes, lay images out by them."
        )
    return places, notes


def _whole(found: _Found, level: _Level, above: Sequence[str], n: int) -> Layout:
    places, notes = found
    if above:
        notes = [f"The class folders are those in {'/'.join(above)!r}.", *notes]
    classes = {place.label for place in places.values() if place.label is not None and place.split in (None, "train")}
    has_classes = any(not names_no_class(name) for name in classes) and not are_parts(classes)
    everywhere = [places.get(row, Place()) for row in range(n)]
    return Layout(everywhere, notes, tuple(above), tuple(level.tops), has_classes)
