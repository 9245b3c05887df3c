"""What is known of the libraries that scores come from."""

from dataclasses import dataclass
from typing import Literal, get_args

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


def find_library(name: str) -> Library | None:
    """What is known of a library; None where nothing is."""
    return LIBRARIES.get(name.lower())
