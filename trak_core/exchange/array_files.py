"""Arrays of any number of dimensions in numpy's files; nothing in them is unpickled."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.sources import check_packing
from trak_core.datasets.text_files import file_errors
from trak_core.errors import InvalidDataError
from trak_core.exchange.score_files import reading
from trak_core.exchange.score_tables import choose


def read_array(given: Any, usual: str, key: str | None = None) -> NDArray[Any]:
    """The array of a .npy or .npz file, or what is given as one.

    Args:
        given: the path of a file, or an array, tensor or list.
        usual: name of the array that is meant where an .npz file holds several.
        key: the name, where it is another.

    Raises:
        EmptyDataError: the file holds no array.
        InvalidDataError: there is no such file, or it cannot be read as an array.
    """
    if not isinstance(given, str | Path):
        with reading(f"the array of {usual}"):
            return np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    path = Path(given)
    with file_errors(path):
        is_there = path.is_file()
    if not is_there or path.suffix.lower() not in (".npy", ".npz"):
        what = "ends in something else" if is_there else "is not there"
        raise InvalidDataError(f"{path} {what}; give {usual} as a file .npy or .npz.")
    with reading(path):
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        with zipfile.ZipFile(path) as archive:
            check_packing(archive, path)
            names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[choose(path, names, key, "array", usual=(usual,))])
