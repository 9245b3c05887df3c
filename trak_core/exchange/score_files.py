"""Files with a matrix of numbers, of our own making or of another library's; nothing in them is unpickled.

Form and type are read first, so that a matrix that does not fit is refused before it is loaded.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.sources import check_packing
from trak_core.datasets.text_files import file_errors
from trak_core.errors import EmptyDataError, InvalidDataError, TrakCoreError
from trak_core.exchange.score_csv import read_csv
from trak_core.exchange.score_tables import choose, is_long, read_long, read_wide, wide_shape

Orientation = Literal["test-by-train", "train-by-test"]
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)
"""What the rows of a matrix are, and what its columns: `[n_test, n_train]` or `[n_train, n_test]`."""


@dataclass(frozen=True)
class Library:
    """A library whose scores can be told apart."""

    name: str  # as people write it
    orientation: Orientation  # of its matrices, as the library gives them


LIBRARIES = {
    library.name.lower(): library
    for library in (
        Library("traker", "train-by-test"),
        Library("dattri", "train-by-test"),
        Library("kronfluence", "test-by-train"),
        Library("captum", "test-by-train"),
        Library("pyDVL", "test-by-train"),
    )
}
"""By their names in lower case."""
ENDINGS = ".npy, .mmap, .npz, .safetensors, .pt, .pth, .parquet or .csv"
EXPERIMENTS = "experiments.json"
"""By it a folder is known as one that traker saved to."""
PAIRWISE = "pairwise_scores.safetensors"
"""What kronfluence calls the scores in the folder `scores_<name>`."""
NUMBERS = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"}
MAX_HEADER = 2**16
"""Bytes that the header of an array is looked for in: numpy takes 10,000, but reads all that a file claims to have."""


@dataclass(frozen=True)
class Found:
    """A matrix that was found and not loaded yet."""

    where: str  # the file, and the array in it where it has several; for messages
    file: str  # its name without the folders
    shape: tuple[int, int] | None  # of the matrix; None for a table with a row for each pair, which has none
    # gives the matrix, `[rows, columns]`; for a table of pairs, from the counts of test and train examples, `[n_test,
    # n_train]`
    load: Callable[[int, int], NDArray[Any]]
    library: Library | None = None  # that made it, where the file shows that


def open_scores(scores: Any, key: str | None = None) -> Found:
    """The matrix of a file, of a folder that traker or kronfluence saved to, of an array, a tensor or a list of rows.

    Where there are several, `key` says which: an array, an experiment, the scores of a name, a method.

    Raises:
        EmptyDataError: it holds no number.
        InvalidDataError: there is no such file, it cannot be read, or what it holds is no matrix of numbers.
    """
    if not isinstance(scores, str | Path):
        return _from_array(scores)
    path = Path(scores)
    with file_errors(path):
        is_folder, is_there = path.is_dir(), path.exists()
    if is_folder:
        return _open_folder(path, key)
    if not is_there:
        raise InvalidDataError(f"there is no file {path}; give the scores as {ENDINGS}, or the folder of a library.")
    openers: dict[str, Callable[[Path, str | None], Found]] = {
        ".npy": _open_npy,
        ".mmap": _open_npy,
        ".npz": _open_npz,
        ".safetensors": _open_safetensors,
        ".pt": _open_torch,
        ".pth": _open_torch,
        ".parquet": _open_parquet,
        ".pq": _open_parquet,
        ".csv": _open_csv,
        ".tsv": _open_csv,
    }
    opener = openers.get(path.suffix.lower())
    if opener is None:
        raise InvalidDataError(f"{path} ends in {path.suffix!r}; give the scores as {ENDINGS}.")
    with reading(path):
        found = opener(path, key)

    def load(n_test: int, n_train: int) -> NDArray[Any]:
        with reading(path):
            return found.load(n_test, n_train)

    return replace(found, load=load)


def _from_array(values: Any) -> Found:
    with reading("the array of scores"):
        array = _plain(values) if hasattr(values, "detach") else np.asarray(values)
        shape = _check_form("the array of scores", array.shape, array.dtype)
    return Found("the array of scores", "an array", shape, lambda n_test, n_train: array)


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Turns whatever a damaged or odd file raises into one sentence."""
    try:
        yield
    except (TrakCoreError, MemoryError):
        raise
    except Exception as error:  # damaged files raise all sorts of things
        said = str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
        raise InvalidDataError(
            f"{path} cannot be read as a matrix of numbers ({said[:200]}); save it anew as plain numbers, for example "
            "with numpy.save."
        ) from error


def _check_form(where: str, shape: Iterable[int], dtype: object) -> tuple[int, int]:
    """The shape, if it is that of a matrix of numbers that holds something."""
    shape = tuple(int(length) for length in shape)
    is_number = dtype.kind in "fiu" if isinstance(dtype, np.dtype) else str(dtype) in NUMBERS
    if not is_number:
        raise InvalidDataError(f"{where} holds values of the type {dtype}; scores must be real numbers.")
    if 0 in shape or not shape:
        raise EmptyDataError(f"{where} has the shape {shape} and holds no matrix; save all scores as one.")
    if len(shape) != 2:
        raise InvalidDataError(
            f"{where} has the shape {shape}; scores must be a matrix, [n_test, n_train] or [n_train, n_test]."
        )
    return shape[0], shape[1]


# --- numpy --------------------------------------------------------------------------------------------------


def _open_npy(path: Path, key: str | None) -> Found:
    saved = path.parent.parent
    if path.suffix.lower() == ".mmap" and (saved / EXPERIMENTS).is_file() and path.parent.name == "scores":
        return _open_traker(saved, path.stem)
    with path.open("rb") as file:
        shape = _check_form(str(path), *_header(file))
    return Found(str(path), path.name, shape, lambda *_: np.load(path, mmap_mode="r", allow_pickle=False))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in numpy's format."""
    start = io.BytesIO(file.read(MAX_HEADER))
    version = np.lib.format.read_magic(start)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(start)
    return shape, dtype


def _open_npz(path: Path, key: str | None) -> Found:
    with zipfile.ZipFile(path) as archive:
        check_packing(archive, path)
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        name = choose(path, members, key, "array")
        where = f"{path}, array {name!r}"
        with archive.open(members[name]) as file:
            shape = _check_form(where, *_header(file))

    def load(n_test: int, n_train: int) -> NDArray[Any]:
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])

    return Found(where, path.name, shape, load)


# --- torch and safetensors ----------------------------------------------------------------------------------


def _open_safetensors(path: Path, key: str | None) -> Found:
    from safetensors import safe_open  # with torch, because numpy knows no bfloat16

    with safe_open(path, framework="pt") as file:
        name = choose(path, file.keys(), key, "tensor")
        where = f"{path}, tensor {name!r}"
        part = file.get_slice(name)
        shape = _check_form(where, part.get_shape(), part.get_dtype())

    def load(n_test: int, n_train: int) -> NDArray[Any]:
        with safe_open(path, framework="pt") as file:
            return _plain(file.get_tensor(name))

    return Found(where, path.name, shape, load, LIBRARIES["kronfluence"] if path.name == PAIRWISE else None)


def _open_torch(path: Path, key: str | None) -> Found:
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InvalidDataError(
            f"{path} cannot be read as a plain tensor, and nothing else is read from a torch file, because it could "
            "run code; save the scores with torch.save(scores.detach().cpu(), ...) or as safetensors."
        ) from error
    name = ""
    if isinstance(held, dict):
        held = {str(name): tensor for name, tensor in held.items() if isinstance(tensor, torch.Tensor)}
        name = choose(path, held, key, "tensor")
        held = held[name]
    if not isinstance(held, torch.Tensor) or held.layout != torch.strided:
        raise InvalidDataError(f"{path} holds a {type(held).__name__}; save the scores as one dense tensor.")
    where = f"{path}, tensor {name!r}" if name else str(path)
    array = _plain(held)
    return Found(where, path.name, _check_form(where, array.shape, array.dtype), lambda n_test, n_train: array)


def _plain(tensor: Any) -> NDArray[Any]:
    """A tensor as an array, on this computer's memory."""
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


# --- tables -------------------------------------------------------------------------------------------------


def _open_parquet(path: Path, key: str | None) -> Found:
    if is_long(path):
        return Found(str(path), path.name, None, lambda n_test, n_train: read_long(path, n_test, n_train, key))
    shape = _check_form(str(path), wide_shape(path), np.dtype(np.float32))
    return Found(str(path), path.name, shape, lambda *_: read_wide(path))


def _open_csv(path: Path, key: str | None) -> Found:
    found = read_csv(path)
    if not isinstance(found, np.ndarray):
        return Found(
            str(path), path.name, None, lambda n_test, n_train: read_long(path, n_test, n_train, key, source=found)
        )
    shape, matrix = _check_form(str(path), found.shape, found.dtype), found
    return Found(str(path), path.name, shape, lambda *_: matrix)


# --- folders of libraries -----------------------------------------------------------------------------------


def _open_folder(path: Path, key: str | None) -> Found:
    if (path / EXPERIMENTS).is_file():
        return _open_traker(path, key)
    if path.name == "scores" and (path.parent / EXPERIMENTS).is_file():
        return _open_traker(path.parent, key)
    if (path / PAIRWISE).is_file():
        return open_scores(path / PAIRWISE, key)
    of_names = {found.parent.name.removeprefix("scores_"): found for found in sorted(path.glob(f"scores_*/{PAIRWISE}"))}
    if of_names:
        name = choose(path, of_names, key, "set of scores")
        return open_scores(of_names[name], None)
    raise InvalidDataError(
        f"{path} is a folder, and neither one that traker saved to (it holds no {EXPERIMENTS}) nor one of kronfluence "
        f"(it holds no {PAIRWISE}); give the file of the scores."
    )


def _open_traker(saved: Path, key: str | None) -> Found:
    """The scores of one experiment in the folder that traker saved to, `[n_train, n_test]`."""
    listing = saved / EXPERIMENTS
    with reading(listing):
        experiments = json.loads(listing.read_text(encoding="utf-8"))
        name = choose(listing, experiments, key, "experiment")
        # Made with its full size before anything is scored: until then every score in it is 0.
        is_finished = bool(experiments[name].get("scores_finalized"))
    if not is_finished:
        raise InvalidDataError(
            f"{listing} says that the scores of experiment {name!r} are not finished; call "
            f"finalize_scores({name!r}) of traker first."
        )
    path = saved / "scores" / f"{Path(name).name}.mmap"
    if not path.is_file():
        raise InvalidDataError(f"there is no file {path}, though {listing} lists it; score with traker again.")
    with reading(path):
        with path.open("rb") as file:
            shape = _check_form(str(path), *_header(file))
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    return Found(str(path), path.name, shape, lambda n_test, n_train: array, LIBRARIES["traker"])
