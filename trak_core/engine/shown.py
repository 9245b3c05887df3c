"""What people are to see of the examples of a run that is saved from Python, as somebody gave it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from trak_core.errors import InvalidDataError, InvalidSettingError


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


def names_of_outputs(class_names: Sequence[str] | None, n_outputs: int) -> tuple[str, ...]:
    """A name for each model output that can be explained: those given, or numbers from 0.

    Raises:
        InvalidSettingError: there is not one for each, or two are the same.
    """
    if isinstance(class_names, str):
        raise InvalidSettingError(f"class_names={class_names!r}; give a list of names.")
    names = tuple(map(str, class_names if class_names is not None else range(n_outputs)))
    if len(names) != n_outputs or len(set(names)) != n_outputs:
        raise InvalidSettingError(
            f"class_names holds {len(names)} names, {len(set(names))} of them different, but the model has {n_outputs} "
            "outputs to explain; give each a name of its own."
        )
    return names


def digest_of(values: Sequence[Any]) -> str:
    """SHA-256 (hex) over pictures or texts in their order."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(value if isinstance(value, bytes) else str(value).encode())
        digest.update(b"\0")
    return digest.hexdigest()
