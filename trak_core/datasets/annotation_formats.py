"""What a folder of images without class folders is, in words for a refusal: COCO, VOC, YOLO, masks, and others."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from trak_core.datasets.folder_names import fold_in, is_about_images, pure_split, quoted

_VOC = frozenset(("jpegimages", "imagesets", "segmentationclass", "segmentationobject"))
_COCO = re.compile(r"(instances|captions|person_keypoints|panoptic|stuff)_.*\.json|.*coco.*\.json", re.IGNORECASE)
_COCO_YEAR = re.compile(r"(train|val|test)20\d\d", re.IGNORECASE)
_NUMBERED = re.compile(r"(?P<name>[^\W\d_][^\d]*?)[ ._-]*\(?\d+\)?")
_TABLE = "put a table of their names and classes beside them (labels names one that lies elsewhere)"
_WITH_BOXES = "whose annotations tell of objects in an image rather than of one class for each"


def what_it_is(images: Sequence[str], others: Sequence[str], tops: Sequence[str]) -> tuple[str, str] | None:
    """What images without class folders look like, and what to do, a clause each; None where nothing tells.

    Args:
        images: the paths of the images.
        others: the paths of other files.
        tops: the names of the folders that are no classes.
    """
    folders = Counter(part for where in (*images, *others) for part in where.casefold().split("/")[:-1])
    where = (
        f"the images lie in {quoted(tops)} and not in a folder for each class" if tops else "there are no class folders"
    )
    cut = f"cut the objects out into a folder for each class, or give each image one class and {_TABLE}"
    if known := _format_of_boxes(images, others, folders, tops):
        return f"{where}: this is laid out as {known}, {_WITH_BOXES}", cut
    if any(is_about_images(top) for top in tops):
        return f"{where}: these look like images beside their masks or annotations", (
            f"keep the images alone and move each into a folder for its class, or {_TABLE}"
        )
    if names := _classes_in_names(images):
        first = next(where for where in images if _named_like(where) == names[0])
        folder = PurePosixPath(first).parent / names[0] / PurePosixPath(first).name
        return f"{where}; the names of the files begin with {quoted(names)}", (
            f"move each image into a folder for its class, as {folder}, or {_TABLE}"
        )
    if tops and all(pure_split(top) or fold_in(top) is not None for top in tops):
        return f"{where}: these are names of splits", (
            f"put class folders into them, as train/cat and train/dog, or {_TABLE}"
        )
    if not tops:
        return None
    return where, f"move each image into a folder for its class, or {_TABLE}"


def _format_of_boxes(
    images: Sequence[str], others: Sequence[str], folders: Counter[str], tops: Sequence[str]
) -> str | None:
    names = [PurePosixPath(where).name for where in others]
    if any(map(_COCO.fullmatch, names)) or sum(bool(_COCO_YEAR.fullmatch(top)) for top in tops) > 1:
        return "COCO (a JSON file of annotations for each split)"
    stems = {PurePosixPath(where).stem for where in images}
    endings = Counter(PurePosixPath(where).suffix.casefold() for where in others if PurePosixPath(where).stem in stems)
    if _VOC & set(folders) or 2 * endings[".xml"] > len(stems):
        return "Pascal VOC (an XML file for each image)"
    if 2 * endings[".json"] > len(stems):
        return "LabelMe (a JSON file for each image)"
    is_yolo = any(name.casefold() in ("data.yaml", "data.yml", "obj.names", "obj.data") for name in names)
    # Exports have train/images, or images/train, and labels beside them.
    ends = {tuple(where.casefold().split("/")[-3:-1]) for where in images}
    has_pair = any(end[-1:] == ("images",) and pure_split(end[0]) for end in ends) or "labels" in folders
    if is_yolo or 2 * endings[".txt"] > len(stems) or has_pair:
        return "YOLO, as Roboflow exports it (images and labels in folders beside each other)"
    return None


def _classes_in_names(images: Sequence[str]) -> list[str]:
    """What the names of most files begin with, before a number, where that repeats as names of classes do."""
    counts = Counter(name for where in images if (name := _named_like(where)))
    common = sorted(name for name, count in counts.items() if count > 1)
    is_most = 2 * sum(counts[name] for name in common) >= len(images)
    return common if len(common) > 1 and is_most else []


def _named_like(where: str) -> str | None:
    found = _NUMBERED.fullmatch(PurePosixPath(where).stem)
    return found["name"].strip() if found else None
