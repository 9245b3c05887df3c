"""Inputs of models in any of their forms: one array, a tuple of arrays, or a dict of arrays, each `[n, ...]`.

The helpers work on numpy arrays and torch tensors alike, and on lists of texts before these become arrays. Torch is
imported only where tensors are made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trak_core.errors import InvalidDataError

if TYPE_CHECKING:
    import torch

ArrayInputs = NDArray[Any] | tuple[NDArray[Any], ...] | dict[str, NDArray[Any]]
"""The inputs of a split as numpy arrays: one, positional ones, or named ones."""
Form = TypeVar("Form")


def leaves(inputs: Any) -> list[Any]:
    """The arrays of inputs in their order; those of a dict in the order of their names."""
    if isinstance(inputs, dict):
        return [leaf for name in sorted(inputs) for leaf in leaves(inputs[name])]
    if isinstance(inputs, tuple):
        return [leaf for part in inputs for leaf in leaves(part)]
    return [inputs]


def apply(function: Callable[[Any], Any], inputs: Any) -> Any:
    """Inputs of the same form with the function applied to each array."""
    if isinstance(inputs, dict):
        return {name: apply(function, part) for name, part in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(apply(function, part) for part in inputs)
    return function(inputs)


def count(inputs: Any) -> int:
    """Number of examples.

    Raises:
        InvalidDataError: there are no arrays, one of them is none, or they differ in length.
    """
    parts = leaves(inputs)
    if any(getattr(part, "shape", None) == () for part in parts):
        raise InvalidDataError("a batch holds a single number among its inputs; give tensors [n, ...], a row each.")
    wrong = [type(part).__name__ for part in parts if not isinstance(part, list) and not hasattr(part, "shape")]
    if wrong or not parts:
        raise InvalidDataError(
            f"a batch holds {', '.join(wrong) or 'nothing'} among its inputs; give tensors [n, ...], a tuple or a dict "
            "of them."
        )
    lengths = {len(part) for part in parts}
    if len(lengths) > 1:
        raise InvalidDataError(f"the inputs of one batch have lengths {sorted(lengths)}; all must be the same.")
    return int(lengths.pop())


def take(inputs: Form, where: Any) -> Form:
    """Some examples, in the same form, by a slice or by row numbers in an array of their kind; lists give lists."""

    def some(leaf: Any) -> Any:
        if isinstance(leaf, list):
            return leaf[where] if isinstance(where, slice) else [leaf[int(row)] for row in where]
        return leaf[where]

    return apply(some, inputs)  # type: ignore[no-any-return]


def flat_rows(inputs: Any) -> Any:
    """The numbers of each example in one row `[n, d]`, arrays one after another; an array or a tensor as they are."""
    rows = [leaf.reshape(len(leaf), -1) for leaf in leaves(inputs)]
    if len(rows) == 1:
        return rows[0]
    if isinstance(rows[0], np.ndarray):
        return np.concatenate(rows, axis=1)
    import torch

    return torch.cat(rows, dim=1)


def all_zero(inputs: ArrayInputs) -> NDArray[np.bool_]:
    """Which examples have nothing but zeros in all their arrays, bool `[n]`; padding is 0 in ids."""
    zero = [~leaf.reshape(len(leaf), -1).astype(bool).any(axis=1) for leaf in leaves(inputs)]
    return np.asarray(np.logical_and.reduce(zero))


def all_same(inputs: ArrayInputs) -> bool:
    """Whether two or more examples are there and all have the same numbers."""
    return count(inputs) > 1 and all(bool((leaf == leaf[:1]).all()) for leaf in leaves(inputs))


def as_tensors(inputs: Any, device: str | torch.device = "cpu") -> Any:
    """The inputs as torch tensors on a device, in the same form; on the CPU they share memory with the arrays."""
    import torch

    return apply(lambda leaf: torch.from_numpy(leaf).to(device), inputs)


def as_arrays(inputs: Any) -> Any:
    """The inputs as numpy arrays, in the same form: the inverse of `as_tensors`."""
    return apply(lambda leaf: leaf.detach().cpu().numpy(), inputs)


def to_device(inputs: Form, device: str | torch.device, dtype: torch.dtype | None = None) -> Form:
    """Tensors on a device, in the same form; floating-point ones in `dtype`, where it is given, others as they are."""
    return apply(lambda leaf: leaf.to(device, dtype if leaf.is_floating_point() else None), inputs)  # type: ignore[no-any-return]


def in_numbers(value: ArrayLike, most: int = 12) -> str:
    """One number or several, for people: "0.5", "1, 0, 1"; dots stand for what is more than `most`."""
    numbers = np.asarray(value).ravel()
    shown = ", ".join(f"{number:.4g}" for number in numbers[:most])
    return f"{shown}, …" if len(numbers) > most else shown
