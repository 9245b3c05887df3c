import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from trak_core.store.ranking import strongest
from trak_core.store.reader import Answers


@given(
    arrays(
        np.float64,
        array_shapes(min_dims=1, max_dims=3, max_side=12, min_side=0),
        elements=st.sampled_from([-2.0, -1.0, 0.0, 1.0, 1.5, np.nan, np.inf]),
    ),
    st.integers(0, 15),
    st.sampled_from(["proponent", "opponent"]),
)
def test_the_strongest_are_those_of_a_full_stable_sort_with_ties_and_undefined_scores(scores, k, side):
    sign = -1 if side == "proponent" else 1
    expected = np.argsort(sign * scores, axis=-1, kind="stable")[..., :k]
    found = strongest(scores, side, k)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_a_remembered_answer_cannot_be_changed_by_who_got_it():
    answers = Answers()
    key = answers.key("SELECT 1", [1, "a", [2, 3]])
    rows = [(1,)]
    answers.put(key, rows)
    rows.append((2,))
    first = answers.get(key)
    assert first == [(1,)]
    first.clear()
    assert answers.get(key) == [(1,)]


@pytest.mark.parametrize("other", [["SELECT 1", [True]], ["SELECT 1", [1.0]], ["SELECT 1", ["1"]], ["SELECT 2", [1]]])
def test_answers_are_told_apart_by_query_and_by_kind_of_parameter(other):
    answers = Answers()
    answers.put(answers.key("SELECT 1", [1]), [(1,)])
    assert answers.get(answers.key(*other)) is None
    assert answers.get(answers.key("SELECT 1", [1])) == [(1,)]


def test_long_answers_and_odd_parameters_are_not_remembered():
    answers = Answers()
    answers.put(answers.key("long", []), [(i,) for i in range(101)])
    assert answers.get(answers.key("long", [])) is None
    assert answers.key("odd", [np.int64(3)]) is None
    answers.put(None, [(1,)])
    assert answers.get(None) is None


def test_the_answer_that_was_not_asked_for_longest_is_forgotten():
    answers = Answers(most=2)
    for name in ("a", "b"):
        answers.put(answers.key(name, []), [(name,)])
    assert answers.get(answers.key("a", [])) == [("a",)]
    answers.put(answers.key("c", []), [("c",)])
    assert answers.get(answers.key("b", [])) is None
    assert answers.get(answers.key("a", [])) == [("a",)]
