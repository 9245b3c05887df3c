"""Images and labels as NumPy arrays in one `.npz` file; nothing in it is unpickled."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.image_arrays import MAX_ARRAY_BYTES, ArrayPart, from_arrays, numbered
from trak_core.datasets.placing import DataSource
from trak_core.datasets.sources import check_packing
from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.modalities.raw import RawData

LAYOUTS: tuple[dict[str, tuple[str, str]], ...] = (
    {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")},
    {
        "train": ("train_images", "train_labels"),
        "test": ("test_images", "test_labels"),
        "validation": ("val_images", "val_labels"),
    },
)
"""The names of images and labels of each split, as Keras and as MedMNIST have them; all but train may be missing."""
TOGETHER = ("images", "labels")
SPLIT, CLASS_NAMES = "split", "class_names"
ALLOWED = "x_train, y_train, x_test and y_test, or images, labels and perhaps split"


def read_npz(path: Path | str, test_share: float = 0.2, seed: int = 0) -> RawData:
    """The images of an `.npz` file with `x_train`, `y_train`, `x_test`, `y_test`, or with `images`, `labels`, `split`.

    Images are uint8 `[n, height, width]`, `[n, height, width, channels]` or `[n, channels, height, width]`; labels are
    numbers or names `[n]`; `split` says "train" or "test" for each. An array `class_names` may name labels from 0 on.

    Raises:
        EmptyDataError: an array holds nothing.
        InvalidDataError: the file cannot be read, lacks arrays, or they have another form.
        LabelError: the labels name no classes.
    """
    path = Path(path)
    arrays = _read_arrays(path)
    names = [str(name) for name in _flat(path, CLASS_NAMES, arrays[CLASS_NAMES])] if CLASS_NAMES in arrays else None
    parts = []
    layout = next((one for one in LAYOUTS if one["train"][0] in arrays), None)
    for split, (images, labels) in ({} if layout is None else layout).items():
        if images in arrays or labels in arrays:
            parts.append(_part(path, arrays, images, labels, split))
    if layout is None:
        parts.append(_part(path, arrays, *TOGETHER, _flat(path, SPLIT, arrays[SPLIT]) if SPLIT in arrays else None))
    return from_arrays(parts, DataSource(path.stem, str(path), test_share, seed, names))


def arrays_beside(labels: str) -> tuple[str, ...]:
    """The names of the arrays that have a row for each value of an array of labels."""
    if labels == TOGETHER[1]:
        return (TOGETHER[0], SPLIT)
    return tuple(images for layout in LAYOUTS for images, name in layout.values() if name == labels)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the file that have a name that is known."""
    known = {name for layout in LAYOUTS for pair in layout.values() for name in pair} | {*TOGETHER, SPLIT, CLASS_NAMES}
    try:
        with zipfile.ZipFile(path) as archive:
            check_packing(archive, path)
            n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > MAX_ARRAY_BYTES:
            raise InvalidDataError(
                f"{path} unpacks to {n_bytes / 2**20:,.0f} MB, and at most {MAX_ARRAY_BYTES / 2**20:,.0f} MB are read; "
                "give fewer or smaller images."
            )
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in known}
    except InvalidDataError:
        raise
    except Exception as error:  # damaged files raise all sorts of things
        raise InvalidDataError(
            f"{path} cannot be read as an .npz file ({str(error).rstrip('.') or type(error).__name__}); write it with "
            "numpy.savez, from arrays of numbers or text."
        ) from error


def _part(
    path: Path, arrays: dict[str, NDArray[Any]], images: str, labels: str, splits: Sequence[Any] | str | None
) -> ArrayPart:
    for name in (images, labels):
        if name not in arrays:
            raise InvalidDataError(f"{path} has no array {name!r}; it must hold {ALLOWED}.")
    pixels, found = _pixels(path, images, arrays[images]), _flat(path, labels, arrays[labels])
    if splits is not None and not isinstance(splits, str):
        if len(splits) != len(found) or not all(isinstance(split, str) for split in splits):
            raise InvalidDataError(
                f"{path}: {SPLIT!r} holds {len(splits):,} values for {len(found):,} labels, or other ones than text; "
                'give "train" or "test" for each image.'
            )
    return ArrayPart(f"{path.name}, {labels}", pixels, found, splits, numbered(f"{path.name}:{labels}", len(found)))


def _pixels(path: Path, name: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    """An array of images as uint8 `[n, height, width, channels]`."""
    if array.dtype != np.uint8:
        raise InvalidDataError(
            f"{path}: {name!r} holds {array.dtype} values, and images must be uint8, from 0 to 255; convert them, "
            "those from 0 to 1 by (255 * x).round().astype('uint8')."
        )
    if math.prod(array.shape) == 0:
        raise EmptyDataError(f"{path}: {name!r} has the shape {array.shape}, so it is empty; give some images.")
    if array.ndim == 3:
        return array[..., None]
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return array
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    raise InvalidDataError(
        f"{path}: {name!r} has the shape {array.shape}; give [n, height, width] or [n, height, width, channels], "
        "with 1 or 3 channels."
    )


def _flat(path: Path, name: str, array: NDArray[Any]) -> list[Any]:
    """An array of numbers or names as a list."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "biufU":
        raise InvalidDataError(
            f"{path}: {name!r} has the shape {array.shape} and holds {array.dtype} values; give one number or name for "
            "each image."
        )
    values: list[Any] = array.tolist()
    return values
