"""Inputs of models in every form: numpy arrays and tensors, one, a tuple, a dict, or some within others."""

from typing import Any

import numpy as np
import pytest
import torch

from trak_core.errors import InvalidDataError
from trak_core.inputs import apply, as_tensors, count, flat_rows, leaves, take, to_device

ROWS = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
IDS = np.arange(8).reshape(4, 2)
FORMS: dict[str, Any] = {
    "array": ROWS,
    "tuple": (ROWS, IDS),
    "dict": {"rows": ROWS, "ids": IDS},
    "nested": (ROWS, {"mask": IDS, "parts": (IDS, ROWS)}),
    "texts": ["a", "b", "c", "d"],
}
EVERY_FORM = pytest.mark.parametrize("form", FORMS)
OF_NUMBERS = pytest.mark.parametrize("form", [name for name in FORMS if name != "texts"])


@EVERY_FORM
def test_a_batch_has_as_many_examples_as_each_of_its_arrays(form: str):
    assert count(FORMS[form]) == 4


@OF_NUMBERS
@pytest.mark.parametrize("where", [slice(1, 3), np.array([2, 0])])
def test_some_examples_keep_the_form_and_are_those_rows_of_every_array(form: str, where: Any):
    some = take(FORMS[form], where)
    assert type(some) is type(FORMS[form])
    for part, whole in zip(leaves(some), leaves(FORMS[form]), strict=True):
        assert np.array_equal(part, whole[where])
    rows = torch.from_numpy(where) if isinstance(where, np.ndarray) else where
    for part, whole in zip(leaves(take(as_tensors(FORMS[form]), rows)), leaves(FORMS[form]), strict=True):
        assert np.array_equal(part.numpy(), whole[where])


def test_some_texts_are_a_list():
    assert take(FORMS["texts"], slice(1, 3)) == ["b", "c"]
    assert take(FORMS["texts"], np.array([3, 0])) == ["d", "a"]


@OF_NUMBERS
def test_tensors_share_the_memory_of_arrays_and_move_with_their_type(form: str):
    tensors = as_tensors(FORMS[form])
    for tensor, array in zip(leaves(tensors), leaves(FORMS[form]), strict=True):
        assert tensor.data_ptr() == array.ctypes.data
    for tensor, array in zip(leaves(to_device(tensors, "cpu", torch.float64)), leaves(FORMS[form]), strict=True):
        assert tensor.dtype == (torch.float64 if array.dtype == np.float32 else torch.int64)
    assert all(one is other for one, other in zip(leaves(to_device(tensors, "cpu")), leaves(tensors), strict=True))


@pytest.mark.parametrize("make", [lambda inputs: inputs, as_tensors])
def test_rows_of_numbers_stand_side_by_side(make: Any):
    assert np.array_equal(np.asarray(flat_rows(make(ROWS))), ROWS.reshape(4, 6))
    both = np.asarray(flat_rows(make({"rows": ROWS, "ids": IDS})))
    assert np.array_equal(both, np.concatenate([IDS, ROWS.reshape(4, 6)], axis=1))  # in the order of their names


def test_a_function_goes_to_every_array():
    assert apply(len, FORMS["nested"]) == (4, {"mask": 4, "parts": (4, 4)})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((ROWS, IDS[:3]), r"lengths \[3, 4\]; all must be the same"),
        ((), "holds nothing among its inputs"),
        ((ROWS, 3), "holds int among its inputs"),
        ({"rows": ROWS, "text": "abcd"}, "holds str among its inputs"),
        (torch.tensor(1.0), "holds a single number among its inputs"),
    ],
)
def test_what_is_no_batch_is_refused(wrong: Any, message: str):
    with pytest.raises(InvalidDataError, match=message):
        count(wrong)
