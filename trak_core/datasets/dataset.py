"""The one shape in which data reaches the rest of the program."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trak_core.datasets.pieces import Pieces
from trak_core.datasets.pixels import Pixels
from trak_core.datasets.tokens import Tokens
from trak_core.datasets.vocabulary import Vocabulary
from trak_core.errors import InvalidSettingError

__all__ = ["Dataset", "Split"]


@dataclass(frozen=True)
class Split:
    """The examples of one split, in the order that gives each its `idx`.

    Attributes:
        inputs: `[n, ...]`, as the model takes them: float32, or int64 where it takes the numbers of words.
        labels: int64 `[n]`, from 0 to `n_classes - 1`.
        thumbnails: PNG or WebP bytes of each example, for images.
        texts: the text of each example, for texts.
    """

    inputs: NDArray[np.float32] | NDArray[np.int64]
    labels: NDArray[np.int64]
    thumbnails: list[bytes] | None = None
    texts: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A train split, a test split and the names of the classes.

    Attributes:
        name: of the data set.
        modality: what kind of examples it holds.
        class_names: of the labels 0, 1, ...
        train: examples to train on.
        test: examples to explain.
        encoding: what turns a new text or image into inputs, where it is known.

    Raises:
        InvalidSettingError: a label is out of range, or inputs and labels differ in number.
    """

    name: str
    modality: Literal["image", "text"]
    class_names: tuple[str, ...]
    train: Split
    test: Split
    encoding: Vocabulary | Pixels | Tokens | Pieces | None = None

    def __post_init__(self) -> None:
        for split_name, split in (("train", self.train), ("test", self.test)):
            if len(split.inputs) != len(split.labels) or len(split) == 0:
                raise InvalidSettingError(
                    f"data set {self.name!r}: the {split_name} split has {len(split.inputs)} inputs and "
                    f"{len(split.labels)} labels; give one label for each input and at least one example."
                )
            bad = np.flatnonzero((split.labels < 0) | (split.labels >= len(self.class_names)))
            if len(bad):
                others = f" and {len(bad) - 1:,} more" if len(bad) > 1 else ""
                raise InvalidSettingError(
                    f"data set {self.name!r}: {split_name} example {bad[0]}{others} has the label "
                    f"{split.labels[bad[0]]}, but there are {len(self.class_names)} classes, 0 to "
                    f"{len(self.class_names) - 1}; label it, or leave it out."
                )

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the inputs, labels and class names of both splits."""
        digest = hashlib.sha256()

        def add(part: Any) -> None:
            digest.update(part if isinstance(part, bytes) else str(part).encode())
            digest.update(b"\0")

        add(self.class_names)
        for split in (self.train, self.test):
            for array in (split.inputs, split.labels):
                add(f"{array.dtype}{array.shape}")
                add(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
