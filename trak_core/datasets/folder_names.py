"""What the name of a folder says of what lies in it: a split, a fold, a part, images of any class, or annotations."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from trak_core.datasets.placing import SPLITS

# Words of folders that hold images whatever their class.
CONTAINERS = frozenset(
    "image images img imgs jpg jpgs jpeg jpegs jpegimages png pngs picture pictures photo photos pic pics frames crops "
    "data dataset datasets raw all files input inputs".split()
)
# Words of folders that hold what is drawn or written about images.
ANNOTATIONS = frozenset(
    "mask masks label labels labelsets annotation annotations annotated anno segmentation segmentations "
    "segmentationclass segmentationobject seg gt groundtruth trimap trimaps bbox bboxes boxes heatmap heatmaps depth "
    "imagesets instance instances".split()
)
NAMED = 5
"""Folders, and the like, that a sentence names."""
_PARTS = frozenset(("part", "parts", "batch", "chunk", "shard", "subset", "volume"))
_FOLDS = re.compile(
    r"(?:k?[ ._-]?folds?|cv|cross[ ._-]?val(?:idation)?|split)[ ._-]*(\d+)(?:[ ._-]*of[ ._-]*\d+)?", re.IGNORECASE
)
_FOLD_WORDS = frozenset(("fold", "kfold", "cv"))
_COLLECTIONS = re.compile(r"(?:voc|coco)(?:[ ._-]?\d{4})?|vocdevkit", re.IGNORECASE)
_OF_SETS = ("", "set", "sets", "data", "dataset", "images", "image", "imgs", "img", "folder")
# Words that say nothing beside the name of a split: "training_set", "test_images".
# Words of folders beside train and test that are for neither.
_ASIDE = frozenset(
    "unlabeled unlabelled unsup unsupervised extra pred preds prediction predictions single external other".split()
)
_NEUTRAL = frozenset((*_OF_SETS, *CONTAINERS, "split", "splits", "samples", "new", "final"))
_SPLIT_WORDS = {word + more: kind for kind, words in SPLITS.items() for word in words for more in _OF_SETS} | {
    "trainval": "train",
    "holdout": "test",
    "heldout": "test",
}
_WORDS = re.compile(r"[^\W\d_]+|\d+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class SplitName:
    """The name of a folder of one split."""

    kind: str  # "train", "test" or "validation"
    rest: str  # what else the name says, such as the class; empty where it says nothing else


@lru_cache(maxsize=100_000)
def split_in(name: str) -> SplitName | None:
    """The split in a name such as "train", "training_set", "test2017", "cats_train" or "ValData"; None for others."""
    kinds: set[str] = set()
    others: list[str] = []
    for word in _WORDS.findall(_HUMP.sub(" ", name)):
        if kind := _SPLIT_WORDS.get(word.casefold()):
            kinds.add(kind)
        elif word.casefold() not in _NEUTRAL and not word.isdecimal():
            others.append(word)
    if kinds == {"train", "validation"}:
        kinds = {"train"}
    return SplitName(kinds.pop(), "_".join(others)) if len(kinds) == 1 else None


def pure_split(name: str) -> str | None:
    """The split that a folder is for, where its name says nothing else; None for other names."""
    found = split_in(name)
    return found.kind if found is not None and not found.rest else None


def fold_in(name: str) -> int | None:
    """The number of a fold of cross-validation, as in "fold_1" or "cv0"; None for other names."""
    found = _FOLDS.fullmatch(name.strip())
    return None if found is None else int(found[1])


def is_fold_word(name: str) -> bool:
    """Whether the rest of a split's name stands for a fold, as in "train_fold_1"."""
    return name.casefold() in _FOLD_WORDS


def is_container(name: str) -> bool:
    """Whether a folder of that name holds images whatever their class, as "images", "img_raw" or "JPEGImages"."""
    return _all_in(name, CONTAINERS)


def is_aside(name: str) -> bool:
    """Whether a folder of that name holds images that are neither for training nor for testing, as "unlabeled"."""
    return _all_in(name, _ASIDE | CONTAINERS) and not is_container(name)


def is_about_images(name: str) -> bool:
    """Whether a folder of that name holds masks, boxes or other annotations."""
    return _all_in(name, ANNOTATIONS | CONTAINERS) and not is_container(name)


def names_no_class(name: str) -> bool:
    """Whether a folder of that name is for a split, for all images or for annotations, rather than for a class."""
    is_split = bool(pure_split(name)) or fold_in(name) is not None
    return is_split or is_container(name) or is_about_images(name) or bool(_COLLECTIONS.fullmatch(name))


def are_parts(names: Collection[str]) -> bool:
    """Whether these folders hold one collection in pieces: "images_001" and "images_002", "part 1" and "part 2"."""
    stems = {re.sub(r"\d+", "", name).casefold() for name in names}
    words = {word.casefold() for stem in stems for word in _WORDS.findall(stem)}
    return len(names) > 1 and len(stems) == 1 and bool(words & (_PARTS | CONTAINERS))


def listed(names: Sequence[str]) -> str:
    """Some names, of which five are told."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def quoted(names: Sequence[str]) -> str:
    """Likewise, each in quotation marks."""
    return listed([repr(name) for name in names])


def _all_in(name: str, known: frozenset[str]) -> bool:
    plain = [word.casefold() for word in _WORDS.findall(name) if not word.isdecimal()]
    parts = [word.casefold() for word in _WORDS.findall(_HUMP.sub(" ", name)) if not word.isdecimal()]
    return any(words and all(word in known for word in words) for words in (plain, parts))
