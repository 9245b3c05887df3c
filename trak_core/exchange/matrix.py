"""A matrix of scores as the rest of the program has it: `[n_test, n_train]`, read a few rows at a time."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError, InvalidSettingError, ShapeMismatchError
from trak_core.exchange.score_files import ORIENTATIONS, Found, Library, Orientation

BLOCK_BYTES = 1 << 26


@dataclass(frozen=True)
class ScoreMatrix:
    """Scores of all train examples for all test examples."""

    where: str  # they come from, for messages
    array: NDArray[Any]  # `[n_test, n_train]`; may lie on the disk
    orientation: Orientation  # in which it was found
    is_reversed: bool = False  # True to turn the sign of every score round

    @property
    def n_test(self) -> int:
        """Number of test examples."""
        return int(self.array.shape[0])

    @property
    def n_train(self) -> int:
        """Number of train examples."""
        return int(self.array.shape[1])

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The first test example of each block, and the scores of the block `[n, n_train]` float32."""
        for start, rows in _blocks(self.array):
            yield start, -rows if self.is_reversed else rows

    def check_finite(self) -> None:
        """Refuses a score that is NaN, infinite or beyond 32-bit numbers: InvalidDataError tells the first place."""
        as_found = self.array if self.orientation == "test-by-train" else self.array.T
        for start, rows in _blocks(as_found):
            is_bad = ~np.isfinite(rows)
            if is_bad.any():
                row, column = np.argwhere(is_bad)[0] + np.array([start, 0])
                raise InvalidDataError(
                    f"{self.where} holds {as_found[row, column]} at row {row}, column {column} (counted from 0); "
                    "scores must be finite 32-bit numbers, so fix what made it and save them anew."
                )

    def digest(self) -> str:
        """SHA-256 (hex) of all scores in their order."""
        digest = hashlib.sha256()
        for _, rows in self.blocks():
            digest.update(rows.tobytes())
        return digest.hexdigest()


def _blocks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The first row of each block, and some neighbouring rows."""
    step = max(1, BLOCK_BYTES // (4 * array.shape[1]))
    for start in range(0, len(array), step):
        with np.errstate(over="ignore"):  # becomes infinite, which is refused with the place where it is
            rows = np.ascontiguousarray(array[start : start + step], dtype=np.float32)
        yield start, rows


def read_matrix(
    found: Found, n_test: int, n_train: int, orientation: Orientation | None = None, library: Library | None = None
) -> ScoreMatrix:
    """The matrix with its orientation: what somebody says, else what its library is known for, else by the counts.

    Raises:
        InvalidDataError: a score is no finite number.
        InvalidSettingError: the counts are the same, and nothing says what the rows are.
        ShapeMismatchError: the matrix has another number of test or train examples.
    """
    if orientation is not None and orientation not in ORIENTATIONS:
        raise InvalidSettingError(f"orientation={orientation!r}; it must be one of: {', '.join(ORIENTATIONS)}.")
    chosen: Orientation = "test-by-train"  # as a table of pairs is read
    if found.shape is not None:
        chosen = _orientation(found.where, found.shape, n_test, n_train, orientation, library)
    array = found.load(n_test, n_train)
    matrix = ScoreMatrix(found.where, array if chosen == "test-by-train" else array.T, chosen)
    matrix.check_finite()
    return matrix


def _orientation(
    where: str,
    shape: tuple[int, int],
    n_test: int,
    n_train: int,
    orientation: Orientation | None,
    library: Library | None,
) -> Orientation:
    shapes: dict[Orientation, tuple[int, int]] = {
        "test-by-train": (n_test, n_train),
        "train-by-test": (n_train, n_test),
    }
    is_of = f"{where} is a matrix of {shape[0]:,} x {shape[1]:,}, and"
    fitting = [name for name in ORIENTATIONS if shapes[name] == shape]
    if not fitting:
        raise ShapeMismatchError(
            f"{is_of} the examples are {n_test:,} for test and {n_train:,} for training; give the very examples that "
            "were scored, or the scores of all of them."
        )
    wanted = orientation or (library.orientation if library else None)
    if wanted is not None and wanted not in fitting:
        said = f"--orientation {orientation}" if orientation else f"{library.name if library else ''} ({wanted})"
        rows, columns = shapes[wanted]
        raise ShapeMismatchError(
            f"{is_of} by {said} it should be {rows:,} x {columns:,}; if it was turned, give --orientation "
            f"{fitting[0]}, and otherwise the examples that were scored."
        )
    if wanted is not None:
        return wanted
    if len(fitting) > 1:
        raise InvalidSettingError(
            f"{is_of} there are as many test as train examples; say with --orientation test-by-train or train-by-test "
            "what its rows and columns are."
        )
    return fitting[0]
