"""A matrix of scores as the rest of the program has it: `[n_test, n_train]`, read a few rows at a time."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.rows import counted
from trak_core.errors import InvalidDataError, InvalidSettingError, ShapeMismatchError
from trak_core.evidence.lds import rank_nothing
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

    @cached_property
    def flat(self) -> "Flat":
        """The rows in which there is nothing to rank."""
        n_constant = n_empty = 0
        for _, rows in self.blocks():
            n_constant += int(rank_nothing(rows).sum())
            n_empty += int((~rows.any(axis=1)).sum())
        return Flat(n_constant, n_empty)

    @property
    def decided(self) -> list[str]:
        """What was decided about rows, columns and what ranks nothing, a sentence each."""
        said = (orientation_sentence(self.orientation, self.n_test, self.n_train), self.flat.sentence)
        return [sentence for sentence in said if sentence]

    def check_ranks(self) -> None:
        """Refuses scores that rank nothing at all: InvalidDataError says so."""
        if self.n_train > 1 and self.flat.n_constant == self.n_test:
            score = "0" if self.flat.n_empty == self.n_test else "the same"
            raise InvalidDataError(
                f"{self.where} ranks nothing: for each of the {self.n_test:,} test examples the scores of all "
                f"{self.n_train:,} training examples are {score}; check what made it, and give scores that differ."
            )

    def check_finite(self) -> None:
        """Refuses scores that are NaN, infinite or beyond 32-bit numbers: InvalidDataError tells the first."""
        as_found = self.array if self.orientation == "test-by-train" else self.array.T
        first: tuple[int, int] | None = None
        n_bad = n_rows = 0
        for start, rows in _blocks(as_found):
            is_bad = ~np.isfinite(rows)
            if first is None and is_bad.any():
                row, column = np.argwhere(is_bad)[0].tolist()
                first = (start + row, column)
            n_bad, n_rows = n_bad + int(is_bad.sum()), n_rows + int(is_bad.any(axis=1).sum())
        if first is not None:
            more = f", the first of {n_bad:,} such scores in {counted(n_rows, 'row')}" if n_bad > 1 else ""
            raise InvalidDataError(
                f"{self.where} holds {as_found[first]} at row {first[0]}, column {first[1]} (counted from 0){more}; "
                "scores must be finite 32-bit numbers, so fix what made it and save them anew."
            )

    def digest(self) -> str:
        """SHA-256 (hex) of all scores in their order."""
        digest = hashlib.sha256()
        for _, rows in self.blocks():
            digest.update(rows.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Flat:
    """How many rows of a matrix rank nothing."""

    n_constant: int  # test examples for which all scores are the same, but for rounding
    n_empty: int  # those among them with scores that are all zero

    @property
    def sentence(self) -> str:
        """What becomes of them; empty where there are none."""
        if not self.n_constant:
            return ""
        zero = f", {self.n_empty:,} of them 0, as where nothing was scored" if self.n_empty else ""
        examples = "test example has" if self.n_constant == 1 else "test examples have"
        return (
            f"{self.n_constant:,} {examples} the same score for all training examples{zero}: there is nothing to rank, "
            "and where models were retrained the LDS counts as 0."
        )


def orientation_sentence(orientation: Orientation, n_test: int, n_train: int) -> str:
    """What was done about rows and columns; empty where a matrix was taken as it came, and the counts bear that out."""
    if n_test == n_train:
        of, turned = ("test", "") if orientation == "test-by-train" else ("training", ", and was turned")
        return (
            f"There are {n_test:,} test and as many training examples, so that the matrix does not show what its rows "
            f"are: it was taken for one with a row for each {of} example{turned}."
        )
    if orientation == "train-by-test":
        return (
            f"The matrix came with a row for each training example ({n_train:,} x {n_test:,}), and was turned: here a "
            "row is a test example."
        )
    return ""


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
        InvalidDataError: a score is no finite number, or all scores of every test example are the same.
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
    matrix.check_ranks()
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
            f"{is_of} {n_test:,} test and {n_train:,} training examples need {n_test:,} x {n_train:,} (a row for each "
            f"test example) or {n_train:,} x {n_test:,}; give the very examples that were scored, or the scores of all "
            "of them."
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
            f"{is_of} there are as many test as train examples, so that it does not show what its rows are; say with "
            "--orientation test-by-train (a row for each test example, as scores stand here) or train-by-test."
        )
    return fitting[0]
