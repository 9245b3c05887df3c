"""Which class and split each image is of: what folders say, or tables where folders do not say it or on request."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trak_core.datasets.annotation_formats import what_it_is
from trak_core.datasets.class_titles import find_titles
from trak_core.datasets.image_examples import ImageExample
from trak_core.datasets.label_tables import (
    ImageIndex,
    ImageTable,
    find_tables,
    first_word,
    labels_among,
    read_image_table,
    read_labels,
)
from trak_core.datasets.layouts import UNUSED, Layout, Place, find_layout
from trak_core.datasets.rows import Example
from trak_core.datasets.sources import natural_key, tidy
from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.modalities.raw import Skipped

_MASK = re.compile(
    r"(?P<of>.+?)[ ._-]+(masks?|seg|segmentation|gt|groundtruth|superpixels)([ ._-]*\d+)?"
    r"|(?P<folder>(.*/)?)(masks?|seg|gt)[ ._-]+(?P<name>[^/]+)",
    re.IGNORECASE,
)
MANY_MASKS = 0.1
"""Share of the images that look like masks before a note says so."""


@dataclass(frozen=True)
class Listing:
    """The files of a source."""

    where: str  # the folder or archive, for messages
    images: Sequence[ImageExample]  # in natural order
    others: Sequence[Example]  # files that are no images


@dataclass(frozen=True)
class Labelled:
    """Images with their labels and splits."""

    images: list[ImageExample]  # the label of each is a name or number, None where it is missing
    skipped: list[Skipped] = field(default_factory=list)  # images that are of no class or split
    notes: list[str] = field(default_factory=list)  # what was decided, a sentence each
    used: frozenset[str] = frozenset()  # other files that were read for it
    are_folders: bool = True  # whether classes are called after folders, or after what tables say


def label_images(listing: Listing, room: Path, label: str | None = None, labels: Path | None = None) -> Labelled:
    """The images of a source with their classes.

    Args:
        listing: what is there.
        room: a folder for copies of tables that lie in an archive.
        label: the column of labels in a table that names the images; None for the one that is clearly meant.
        labels: that table, beside the images or elsewhere; None for those that lie beside the images, where the
            folders tell no classes or `label` is given.

    Raises:
        EmptyDataError: there are no images, or nothing says of which class they are.
        InvalidDataError: it is a layout without classes, or a table cannot be read or does not tell which column.
    """
    index = ImageIndex([image.where for image in listing.images])
    layout = find_layout([tidy(image.where).split("/") for image in listing.images], listing.where)
    if labels is not None:
        return _by_table(listing, index, [_given_table(listing, index, labels)], label)
    tables = [table for table in find_tables(listing.others, index, room) if not table.has_boxes]
    if label is not None and not tables:
        raise InvalidDataError(
            f"label is {label!r}, and {listing.where} has no table that names its images; put it beside them, or "
            "name it (labels)."
        )
    if label is not None or (tables and (not layout.has_classes or _are_numbers_only(layout, tables))):
        return _by_table(listing, index, tables, label)
    if layout.has_classes:
        return _by_folder(listing, layout, tables)
    known = what_it_is([tidy(one.where) for one in listing.images], [one.where for one in listing.others], layout.tops)
    if known is None:
        raise EmptyDataError(
            f"{listing.where} holds no readable image in a folder for its class{_first(listing, layout)}; lay images "
            f"out as {listing.where}/<class>/<image>, in PNG or JPEG, or put a table of their classes beside them."
        )
    raise InvalidDataError(f"{listing.where}: {known[0]}; {known[1]}.")


def _are_numbers_only(layout: Layout, tables: Sequence[ImageTable]) -> bool:
    """Whether folders have numbers for names and a table clearly has labels that differ from these."""
    names = {place.label for place in layout.places if place.label is not None}
    told = [(table, columns[0]) for table in tables if len(columns := table.label_columns()) == 1]
    return (
        bool(told)
        and all(name.isdecimal() for name in names)
        and not any(_agrees(table, column, layout.places) for table, column in told)
    )


def _first(listing: Listing, layout: Layout) -> str:
    return f" ({listing.images[0].where}: {layout.places[0].why})" if listing.images else ""


# --- folders --------------------------------------------------------------------------------------------------


def _by_folder(listing: Listing, layout: Layout, tables: Sequence[ImageTable]) -> Labelled:
    """The images in the order of their classes."""
    places = list(layout.places)
    classes = frozenset(place.label for place in places if place.label is not None)
    missing = {row: place.split for row, place in enumerate(places) if place.label is None and place.why != UNUSED}
    found = labels_among(tables, missing, classes)
    for row, (name, _) in found.items():
        places[row] = replace(places[row], label=name)
    titles, told_by = find_titles(listing.others, classes)
    notes = [*layout.notes, *_about_composition(listing.images), *_about_lists(found), *_split_by_table(places, tables)]
    if titles:
        first = min(titles)
        notes.append(f"Classes are called as in {told_by}, such as {titles[first]!r} for the folder {first!r}.")
    images, skipped = [], []
    for image, place in zip(listing.images, places, strict=True):
        if place.label is not None:
            images.append(replace(image, label=titles.get(place.label, place.label), split=place.split))
        elif place.why != UNUSED:
            skipped.append(Skipped(image.where, place.why))
    notes += _about_splits_without_classes(listing, layout, places)
    notes += _about_other_tables(tables, {where for _, where in found.values()}, places)
    notes += _about_masks([image.where for image in images])
    used = frozenset((*(table.where for table in tables), told_by))
    return Labelled(sorted(images, key=lambda image: natural_key(image.label)), skipped, notes, used)


def _about_composition(images: Sequence[ImageExample]) -> list[str]:
    """A note on folders that have the same name in other forms of Unicode."""
    written: defaultdict[str, set[str]] = defaultdict(set)
    for image in images:
        folder = image.where.rpartition("/")[0]
        written[tidy(folder)].add(folder)
    alike = [" and ".join(map(ascii, sorted(names))) for names in written.values() if len(names) > 1]
    return [f"Folders whose names differ in how Unicode composes letters alone are one: {alike[0]}."] if alike else []


def _split_by_table(places: list[Place], tables: Sequence[ImageTable]) -> list[str]:
    """Gives images that folders put into no splits those of the first table that has them for all, and says so."""
    rows = [row for row, place in enumerate(places) if place.label is not None]
    if any(places[row].split is not None for row in rows):
        return []
    for table in tables:
        splits = table.splits()
        if all(row in splits for row in rows) and {"train"} < {splits[row] for row in rows}:
            for row in rows:
                places[row] = replace(places[row], split=splits[row])
            return [f"Splits are those in the column {table.split_column!r} of {tidy(table.where)}."]
    return []


def _about_lists(found: dict[int, tuple[str, str]]) -> list[str]:
    counts = Counter(where for _, where in found.values())
    return [
        f"The classes of {n:,} images that lie in no class folder are those in {where}." for where, n in counts.items()
    ]


def _about_splits_without_classes(listing: Listing, layout: Layout, places: Sequence[Place]) -> list[str]:
    """Notes on test and validation folders of which no image is of a class."""
    depth = len(layout.above)
    n_without: Counter[str] = Counter()
    others: set[str] = set()
    for image, place in zip(listing.images, places, strict=True):
        inner = tidy(image.where).split("/")[depth:]
        if place.split in ("test", "validation") and len(inner) > 1:
            n_without[inner[0]] += 1
            if place.label is not None or place.why == UNUSED:
                others.add(inner[0])
    return [
        f"The folder {name!r} has no class folders, so its images ({n:,}) are not used."
        for name, n in sorted(n_without.items())
        if name not in others
    ]


def _about_other_tables(tables: Sequence[ImageTable], used: set[str], places: Sequence[Place]) -> list[str]:
    """Notes on tables that name the images and say something else than the folders do."""
    notes = []
    for table in tables:
        if (
            table.where in used
            or not table.has_header
            or not table.candidates
            or any(_agrees(table, column, places) for column in table.candidates)
        ):
            continue
        columns = ", ".join(repr(column) for column in table.candidates[:5])
        notes.append(
            f"{tidy(table.where)} names the images too, and is not used: classes are those of the folders. To take "
            f"them from one of its columns ({columns}), name it (label)."
        )
    return notes


def _agrees(table: ImageTable, column: str, places: Sequence[Place]) -> bool:
    """Whether a column says what the folders say."""
    folder = str(Path(table.where).parent).removeprefix(".")
    pairs = [
        (tidy(str(value)).strip(), first_word(value), places[number].label)
        for name, value in zip(table.values(table.names), table.values(column), strict=True)
        if (number := table.index.find(name, folder, table.split)) is not None
    ]
    return any(label in (value, word) for value, word, label in pairs)


def _about_masks(wheres: Sequence[str]) -> list[str]:
    stems = {where.rpartition(".")[0]: where for where in wheres}
    masks = [
        (where, stems[image])
        for stem, where in stems.items()
        if (found := _MASK.fullmatch(stem)) and (image := found["of"] or found["folder"] + found["name"]) in stems
    ]
    if len(masks) < max(2, MANY_MASKS * len(wheres)):
        return []
    mask, image = masks[0]
    return [
        f"{len(masks):,} of the {len(wheres):,} images look like masks of others, such as {mask!r} beside {image!r}; "
        "take them out of the folders, unless they are meant to be learnt from."
    ]


# --- tables ---------------------------------------------------------------------------------------------------


def _given_table(listing: Listing, index: ImageIndex, labels: Path) -> ImageTable:
    """The table that somebody named."""
    where = labels.name
    if labels.resolve().is_relative_to(root := Path(listing.where).resolve()):
        where = labels.resolve().relative_to(root).as_posix()
    table = read_image_table(labels, where, index)
    if table is None:
        raise InvalidDataError(
            f"{labels} has no column that names most of the images in {listing.where}; give one with their file names, "
            "and a column of labels."
        )
    return table


def _by_table(listing: Listing, index: ImageIndex, tables: Sequence[ImageTable], label: str | None) -> Labelled:
    told = read_labels(tables, label, listing.where)
    names = ", ".join(tidy(table.where) for table in tables[:3])
    images, skipped = [], []
    for number, image in enumerate(listing.images):
        split = told.splits.get(number) or index.split_of(number)
        if (why := told.doubtful.get(number)) is not None:
            skipped.append(Skipped(image.where, why))
        elif number in told.labels or split in ("test", "validation"):
            images.append(replace(image, label=told.labels.get(number), split=split, label_row=told.rows.get(number)))
        else:
            skipped.append(Skipped(image.where, f"no row of {names} names this image"))
    used = frozenset(table.where for table in tables)
    return Labelled(images, skipped, told.notes, used, are_folders=False)
