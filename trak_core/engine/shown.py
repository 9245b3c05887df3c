"""What people are to see of the examples of a run that is saved from Python, as somebody gave it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from trak_core.errors import InvalidDataError

__all__ = ["digest_of", "shown_by_split"]


def shown_by_split(
    pictures: tuple[Sequence[bytes], Sequence[bytes]] | None,
    texts: tuple[Sequence[str], Sequence[str]] | None,
    n_examples: Mapping[str, int],
) -> dict[str, dict[str, Sequence[Any]]]:
    """By split, the pictures under "thumbnail" and the texts under "text"; empty where none were given.

    Args:
        pictures: PNG or WebP bytes of the train and of the test examples.
        texts: of the train and of the test examples.
        n_examples: number of examples by split.

    Raises:
        InvalidDataError: there is not one for each example.
    """
    shown: dict[str, dict[str, Sequence[Any]]] = {"train": {}, "test": {}}
    for name, given in (("thumbnail", pictures), ("text", texts)):
        for split, values in zip(("train", "test"), given or ((), ()), strict=True):
            if given is not None and len(values) != n_examples[split]:
                raise InvalidDataError(
                    f"{name}s hold {len(values)} entries for {n_examples[split]} {split} examples; give one for each."
                )
            shown[split][name] = values
    return shown


def digest_of(values: Sequence[Any]) -> str:
    """SHA-256 (hex) over pictures or texts in their order."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value if isinstance(value, bytes) else str(value).encode())
        digest.update(b"\0")
    return digest.hexdigest()
