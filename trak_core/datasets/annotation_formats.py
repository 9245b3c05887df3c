"""What a folder of images without class folders is, in words for a refusal: COCO, VOC, YOLO, masks, and others."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from trak_core.datasets.folder_names import fold_in, is_about_images, pure_split, quoted

_VOC = frozenset(("jpegimages", "imagesets", "segmentationclass", "segmentationobject"))
_COCO = re.compile(r"(instances|captions|person_keypoints|panoptic|stuff)_.*\.json|.*coco.*\.json", re.IGNORECASE)
_COCO_YEAR = re.compile(r"(train|val|test)20\d\d", re.IGNORECASE)
_YOLO = frozenset(("data.yaml", "data.yml", "obj.names", "obj.data"))
_NUMBERED = re.compile(r"(?P<name>[^\W\d_][^\d]*?)[ ._-]*\(?\d+\)?")
_TABLE = "put a table with the class of each image beside them"
_CUT = f"cut the objects out into a folder for each class, or {_TABLE}"


def what_it_is(images: Sequence[str], others: Sequence[str], tops: Sequence[str]) -> tuple[str, str] | None:
    """What images without class folders look like, and what to do, a clause each; None where nothing tells.

    Args:
        images: the paths of the images.
        others: the paths of other files.
        tops: the names of the folders that are no classes.
    """
    where = f"the images lie in {quoted(tops)}, which are no classes" if tops else "there are no class folders"
    if known := _format_of_boxes(images, others, tops):
        return f"{where}: this looks like {known}, whose annotations tell of objects in the images", _CUT
    if any(is_about_images(part) for where in images for part in where.split("/")[:-1]):
        return f"{where}: these look like images and their masks", (
            f"take the masks away and move each image into a folder for its class, or {_TABLE}"
        )
    if known := _format_of_pairs(images, others):
        return f"{where}: this looks like {known}, whose annotations tell of objects in the images", _CUT
    if names := _classes_in_names(images):
        first = next(where for where in images if _named_like(where) == names[0])
        folder = PurePosixPath(first).parent / names[0] / PurePosixPath(first).name
        return f"{where}; the names of the files begin with {quoted(names)}", (
            f"move each image into a folder for its class, as {folder}, or {_TABLE}"
        )
    if tops and all(pure_split(top) or fold_in(top) is not None for top in tops):
        return f"{where} but splits", f"put class folders into them, as train/cat and train/dog, or {_TABLE}"
    return (where, f"move each image into a folder for its class, or {_TABLE}") if tops else None


def _format_of_boxes(images: Sequence[str], others: Sequence[str], tops: Sequence[str]) -> str | None:
    names = [PurePosixPath(where).name for where in others]
    if any(map(_COCO.fullmatch, names)) or sum(bool(_COCO_YEAR.fullmatch(top)) for top in tops) > 1:
        return "COCO (a JSON file for each split)"
    folders = {part for where in (*images, *others) for part in where.casefold().split("/")[:-1]}
    if _VOC & folders or _belong_to_images(".xml", images, others):
        return "Pascal VOC (an XML file for each image)"
    return "LabelMe (a JSON file for each image)" if _belong_to_images(".json", images, others) else None


def _format_of_pairs(images: Sequence[str], others: Sequence[str]) -> str | None:
    """YOLO, which has train/images, or images/train, and labels beside them."""
    names = {PurePosixPath(where).name.casefold() for where in others}
    folders = {part for where in others for part in where.casefold().split("/")[:-1]}
    ends = {tuple(where.casefold().split("/")[-3:-1]) for where in images}
    has_pair = any(end[-1:] == ("images",) and pure_split(end[0]) for end in ends)
    is_yolo = has_pair or "labels" in folders or bool(names & _YOLO) or _belong_to_images(".txt", images, others)
    return "YOLO, as Roboflow exports it (a text file for each image)" if is_yolo else None


def _belong_to_images(ending: str, images: Sequence[str], others: Sequence[str]) -> bool:
    """Whether more than half of the images have a file of that ending and their name."""
    stems = {PurePosixPath(where).stem for where in images}
    found = {path.stem for path in map(PurePosixPath, others) if path.suffix.casefold() == ending}
    return 2 * len(found & stems) > len(stems)


def _classes_in_names(images: Sequence[str]) -> list[str]:
    """What the names of most files begin with, before a number, where that repeats as names of classes do."""
    counts = Counter(name for where in images if (name := _named_like(where)))
    common = sorted(name for name, count in counts.items() if count > 1)
    is_most = 2 * sum(counts[name] for name in common) >= len(images)
    return common if len(common) > 1 and is_most else []


def _named_like(where: str) -> str | None:
    found = _NUMBERED.fullmatch(PurePosixPath(where).stem)
    return found["name"].strip() if found else None
