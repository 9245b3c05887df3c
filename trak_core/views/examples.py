"""Examples as people see them: thumbnail or text, and label."""

from collections.abc import Sequence
from dataclasses import dataclass

from trak_core.store.run import Run

__all__ = ["Example", "read_examples"]


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        split: "train" or "test".
        idx: its number in the split.
        label: its label; 0 where there are no classes.
        label_name: the name of its label.
        text: its text, for texts.
        thumbnail: PNG or WebP bytes, for images.
    """

    split: str
    idx: int
    label: int
    label_name: str
    text: str | None
    thumbnail: bytes | None


def read_examples(run: Run, split: str, idxs: Sequence[int]) -> list[Example]:
    """The examples of the given numbers, in the order given; numbers must be valid."""
    rows = run.rows(
        "SELECT idx, coalesce(label, 0), label_name, text, thumbnail FROM examples "
        "WHERE split = ? AND idx IN (SELECT unnest(?::INTEGER[]))",
        [split, [int(idx) for idx in idxs]],
    )
    by_idx = {row[0]: Example(split, *row) for row in rows}
    return [by_idx[int(idx)] for idx in idxs]
