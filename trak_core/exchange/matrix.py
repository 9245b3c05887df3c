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
    array: NDArray[Any]  # `[n_test, n_train]`, or `[n_train, n_test]`, as they were found; may lie on the disk
    orientation: Orientation  # which of the two
    is_reversed: bool = False  # True to turn the sign of every score round

    @property
    def n_test(self) -> int:
        """Number of test examples."""
        return int(self.array.shape[0 if self.orientation == "test-by-train" else 1])

    @property
    def n_train(self) -> int:
        """Number of train examples."""
        return int(self.array.shape[1 if self.orientation == "test-by-train" else 0])

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Scores `[n, n_train]` float32 of the test examples from `start` to before `stop`."""
        part = self.array[start:stop] if self.orientation == "test-by-train" else self.array[:, start:stop].T
        with np.errstate(over="ignore"):  # becomes infinite, which is refused with the place where it is
            rows = np.ascontiguousarray(part, dtype=np.float32)
        return -rows if self.is_reversed else rows

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The first test example of each block, and the scores of the block `[n, n_train]`."""
        step = max(1, BLOCK_BYTES // (4 * self.n_train))
        for start in range(0, self.n_test, step):
            yield start, self.rows(start, start + step)

    def check_finite(self) -> None:
        """Refuses a score that is NaN, infinite or beyond 32-bit numbers.

        Raises:
            InvalidDataError: with the file, the row and the column of the first one.
        """
        for start, rows in self.blocks():
            is_bad = ~np.isfinite(rows)
            if is_bad.any():
                # By the rows of the file, as somebody looks for it there.
                found = np.argwhere(is_bad) + np.array([start, 0])
                if self.orientation == "train-by-test":
                    found = found[:, ::-1]
                row, column = found[np.lexsort((found[:, 1], found[:, 0]))[0]]
                raise InvalidDataError(
                    f"{self.where} holds {self.array[row, column]} at row {row}, column {column} (counted from 0); "
                    "scores must be finite 32-bit numbers, so fix what made it and save them anew."
                )

    def digest(self) -> str:
        """SHA-256 (hex) of all scores in their order."""
        digest = hashlib.sha256()
        for _, rows in self.blocks():
            digest.update(rows.tobytes())
        return digest.hexdigest()


def read_matrix(
    found: Found, n_test: int, n_train: int, orientation: Orientation | None = None, library: Library | None = None
) -> ScoreMatrix:
    """The matrix with its orientation, which the counts of examples decide where nothing else does.

    Args:
        found: the matrix.
        n_test: number of test examples.
        n_train: number of train examples.
        orientation: what somebody says of it.
        library: that made it; its matrices are known to have one orientation.

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
    matrix = ScoreMatrix(found.where, found.load(n_test, n_train), chosen)
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
