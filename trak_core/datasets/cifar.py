"""CIFAR-10 in its original binary version.

Each example is a byte for the label and 3,072 for the image: 32 rows of 32 bytes of red, then of green, then of blue.
Source: https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.image_arrays import ArrayPart, from_arrays, names_in, numbered
from trak_core.datasets.placing import DataSource
from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.modalities.raw import RawData

SIDE, CHANNELS = 32, 3
RECORD = 1 + CHANNELS * SIDE * SIDE
MAX_FILE_BYTES = 2**30
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = "test_batch.bin"
NAMES = "batches.meta.txt"
FOLDER = "cifar-10-batches-bin"


def read_cifar_folder(path: Path | str) -> RawData:
    """The images of a folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`.

    Those of `data_batch_*.bin` that are there are read; the folder may lie in the one given. Classes have the names in
    `batches.meta.txt`, or else the usual ones. The version for Python is not read, because pickled files run what they
    hold.

    Raises:
        EmptyDataError: a file is empty.
        InvalidDataError: the files are missing, damaged, or those for Python.
    """
    path = Path(path)
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    train = [folder / name for name in TRAIN if (folder / name).is_file()]
    missing = TEST if train else TRAIN[0]
    if not train or not (folder / TEST).is_file():
        for_python = any((one / "data_batch_1").exists() for one in (folder, path / "cifar-10-batches-py"))
        raise InvalidDataError(
            f"{path} holds CIFAR-10 in the version for Python, whose files run what they hold when they are read; take "
            "the binary version, cifar-10-binary.tar.gz."
            if for_python
            else f"{folder} has no file {missing}; give the folder of the binary version of CIFAR-10, unpacked."
        )
    names = _class_names(folder / NAMES)
    parts = [
        _part(path, "data_batch", train, len(names), "train"),
        _part(path, "test_batch", [folder / TEST], len(names), "test"),
    ]
    name = "cifar-10" if folder.name == FOLDER else folder.resolve().name
    return from_arrays(parts, DataSource(name, str(path), class_names=names))


def _part(path: Path, where: str, files: Sequence[Path], n_classes: int, split: str) -> ArrayPart:
    records = [_read(file, n_classes) for file in files]
    names = [file.relative_to(path).as_posix() for file in files]
    origins = [origin for name, found in zip(names, records, strict=True) for origin in numbered(name, len(found))]
    found = np.concatenate(records)
    return ArrayPart(where, _pixels(found), found[:, 0].tolist(), split, origins)


def read_records(file: Path) -> NDArray[np.uint8]:
    """The records of a file: uint8 `[n, 3073]`, of which the first byte is the label.

    Raises:
        EmptyDataError, InvalidDataError: as `read_cifar_folder`.
    """
    return _read(file, 256)


def _read(file: Path, n_classes: int) -> NDArray[np.uint8]:
    """The records of a file: uint8 `[n, 3073]`."""
    try:
        n_bytes = file.stat().st_size
        if n_bytes == 0:
            raise EmptyDataError(f"{file} is empty; unpack the original archive anew.")
        if n_bytes % RECORD or n_bytes > MAX_FILE_BYTES:
            raise InvalidDataError(
                f"{file} has {n_bytes:,} bytes, which is too much or not a whole number of examples of {RECORD:,} "
                "bytes; unpack the original archive anew."
            )
        records = np.fromfile(file, dtype=np.uint8).reshape(-1, RECORD)
    except OSError as error:
        raise InvalidDataError(f"{file} cannot be read ({error.strerror}); check it.") from error
    if (wrong := np.flatnonzero(records[:, 0] >= n_classes)).size:
        raise InvalidDataError(
            f"{file}, example {wrong[0]}: the label is {records[wrong[0], 0]}, and there are {n_classes} classes; "
            "unpack the original archive anew."
        )
    return records


def _pixels(records: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The images of records: uint8 `[n, 32, 32, 3]`."""
    images = records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE)
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def _class_names(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        return CLASSES
    names = names_in(file, "unpack the original archive anew")
    if len(names) != len(CLASSES):
        raise InvalidDataError(f"{file} names {len(names)} classes, not 10; unpack the original archive anew.")
    return names
