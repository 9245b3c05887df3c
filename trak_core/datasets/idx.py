"""Fashion-MNIST, MNIST and their kin in their original four idx files, packed with gzip or not.

An idx file is a header (two zero bytes, the type 8 for unsigned bytes, the number of dimensions, and each dimension as
four bytes, the highest first) and the values.
Source: http://yann.lecun.com/exdb/mnist, "The IDX file format".
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.image_arrays import MAX_ARRAY_BYTES, ArrayPart, from_arrays, names_in, numbered
from trak_core.datasets.placing import DataSource
from trak_core.errors import EmptyDataError, InvalidDataError
from trak_core.modalities.raw import RawData

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
"""The classes of Fashion-MNIST."""
SPLITS = {"train": "train", "test": "t10k"}
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
CLASSES = "classes.txt"


def read_idx_folder(path: Path | str) -> RawData:
    """The images of a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same for `t10k`.

    The files may end in `.gz`, and lie in a folder `raw` below. Classes have the names that a file `classes.txt` gives,
    one a line; without it those of Fashion-MNIST where the name of the folder says so, and numbers otherwise.

    Raises:
        EmptyDataError: a file holds no values.
        InvalidDataError: a file is missing, damaged, or does not belong to the others.
    """
    path = Path(path)
    folder = path / "raw" if (path / "raw").is_dir() else path
    parts, n_classes = [], 0
    for split, prefix in SPLITS.items():
        files = [_find(folder, f"{prefix}-{kind}") for kind in (IMAGES, LABELS)]
        pixels, labels = read_idx(files[0], 3), read_idx(files[1], 1)
        origins = numbered(files[1].relative_to(path).as_posix(), len(labels))
        parts.append(ArrayPart(str(folder / f"{prefix}-{LABELS}"), pixels[..., None], labels.tolist(), split, origins))
        n_classes = max(n_classes, int(labels.max()) + 1)
    home = folder.resolve()
    name = home.parent.name if home.name == "raw" else home.name
    return from_arrays(parts, DataSource(name, str(path), class_names=_class_names(folder, name, n_classes)))


def read_idx(file: Path, n_dimensions: int) -> NDArray[np.uint8]:
    """The values of an idx file of unsigned bytes, unpacked if its name ends in `.gz`.

    Raises:
        EmptyDataError: it holds no values.
        InvalidDataError: it is no such file, has other dimensions, is damaged or too large.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            header = stream.read(4 + 4 * n_dimensions)
            if header[:4] != bytes((0, 0, 8, n_dimensions)) or len(header) < 4 + 4 * n_dimensions:
                raise InvalidDataError(
                    f"{file} begins with {header[:4].hex() or 'nothing'}, and an idx file of bytes in {n_dimensions} "
                    f"dimensions with {bytes((0, 0, 8, n_dimensions)).hex()}; fetch the original file."
                )
            shape = tuple(int(side) for side in np.frombuffer(header, ">u4", offset=4))
            n_bytes = math.prod(shape)
            said = " x ".join(map(str, shape))
            if n_bytes == 0:
                raise EmptyDataError(f"{file} holds {said} values, so none; fetch the original file.")
            if n_bytes > MAX_ARRAY_BYTES:
                raise InvalidDataError(
                    f"{file} says that it holds {said} values, and at most {MAX_ARRAY_BYTES:,} are read; fetch the "
                    "original file."
                )
            values = np.frombuffer(stream.read(n_bytes + 1), dtype=np.uint8)
            if len(values) != n_bytes:
                found = f"only {len(values):,}" if len(values) < n_bytes else "more"
                raise InvalidDataError(
                    f"{file} says that it holds {said} values, {n_bytes:,} in all, and has {found}; fetch it anew."
                )
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise InvalidDataError(f"{file} cannot be read ({error or type(error).__name__}); fetch it anew.") from error
    return values.reshape(shape)


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    """The content of an idx file of these values, not packed."""
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, dtype=">u4").tobytes() + values.tobytes()


def images_beside(labels: Path) -> Path:
    """The file of the images that a file of labels is about.

    Raises:
        InvalidDataError: there is none.
    """
    return _find(labels.parent, f"{labels.name.partition('-')[0]}-{IMAGES}")


def _find(folder: Path, name: str) -> Path:
    """The file of that name, packed or not; some write a dot before the kind."""
    names = [f"{stem}{end}" for stem in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    for one in names:
        if (folder / one).is_file():
            return folder / one
    raise InvalidDataError(
        f"{folder} has no file {name} or {name}.gz; give the folder with the four original files, which are the images "
        "and labels of train and t10k."
    )


def _class_names(folder: Path, name: str, n_classes: int) -> tuple[str, ...]:
    file = folder / CLASSES
    if file.is_file():
        names = names_in(file, "save it as UTF-8, one class a line")
        if len(names) < n_classes:
            raise InvalidDataError(
                f"{file} has {len(names)} names, and labels run from 0 to {n_classes - 1}; give one name a line "
                "for each class."
            )
        return names
    if "fashion" in name.casefold() and n_classes <= len(CLOTHES):
        return CLOTHES
    return tuple(str(label) for label in range(n_classes))
