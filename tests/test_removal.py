"""Removal, the search for the smallest set that flips an answer, what computing costs, and who tunes what."""

import subprocess
import sys
import time

import numpy as np
import pytest

from trak_core.evidence.cost import measured_cost
from trak_core.evidence.lds import tuning_tests
from trak_core.evidence.removal import choose_tests, compare_removals, midpoints, summarize_removal
from trak_core.training import removal_weights

NAN = float("nan")


def test_tests_for_removal_are_candidates_in_order_and_never_the_same_twice():
    candidates = np.arange(50) % 3 == 0
    chosen = choose_tests(candidates, 8, seed=4)
    assert len(chosen) == len(set(chosen.tolist())) == 8
    assert candidates[chosen].all()
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, choose_tests(candidates, 8, seed=4))
    assert not np.array_equal(chosen, choose_tests(candidates, 8, seed=5))


def test_more_tests_for_removal_hold_the_fewer_of_the_same_seed():
    candidates = np.ones(30, dtype=bool)
    assert set(choose_tests(candidates, 5, seed=0)) < set(choose_tests(candidates, 9, seed=0))


def test_where_there_are_fewer_candidates_all_are_chosen():
    candidates = np.array([False, True, True, False])
    assert choose_tests(candidates, 10, seed=0).tolist() == [1, 2]
    assert choose_tests(np.zeros(4, dtype=bool), 10, seed=0).tolist() == []


def test_removed_examples_weigh_nothing_and_the_others_one():
    weights = removal_weights([np.array([3, 0]), np.array([], dtype=np.int64)], 5)
    assert weights.dtype == np.float32
    assert weights.tolist() == [[0, 1, 1, 0, 1], [1, 1, 1, 1, 1]]


def test_a_removal_is_summarized_seed_by_seed():
    without, complete = np.array([1.0, 2.0, 6.0]), np.array([4.0, 4.0, 5.0])
    found = summarize_removal(without, np.array([False, False, True]), complete)
    assert found.model_output == pytest.approx(3)
    assert found.unremoved == pytest.approx(13 / 3)
    # Changes of -3, -2 and 1: each seed is its own control, so its own level does not count as noise.
    assert found.standard_error == pytest.approx(np.sqrt(13 / 3) / np.sqrt(3))
    assert found.flipped
    assert found.n_seeds == 3


@pytest.mark.parametrize("side", ["without", "complete"])
def test_a_seed_that_diverged_on_either_side_is_in_no_average(side):
    without, complete = np.array([1.0, 9.0, 3.0]), np.array([4.0, 9.0, 5.0])
    {"without": without, "complete": complete}[side][1] = NAN
    found = summarize_removal(without, np.array([True, False, True]), complete)
    assert (found.model_output, found.unremoved, found.n_seeds) == (2, 4.5, 2)
    assert found.standard_error == pytest.approx(0.5)
    assert not found.flipped


def test_one_seed_has_no_standard_error_and_no_finite_pair_no_removal():
    one = summarize_removal(np.array([1.0, NAN]), np.array([True, True]), np.array([2.0, 2.0]))
    assert one.n_seeds == 1
    assert np.isnan(one.standard_error)
    assert summarize_removal(np.array([1.0, NAN]), np.array([True, True]), np.array([NAN, 2.0])) is None


def test_an_answer_that_half_of_the_models_still_give_has_not_flipped():
    margins = np.zeros(4)
    assert not summarize_removal(margins, np.array([True, True, False, False]), margins).flipped
    assert summarize_removal(margins, np.array([True, False, False, False]), margins).flipped


@pytest.mark.parametrize("smallest", [1, 2, 7, 10, 11, 39, 40, 41, 80])
def test_halving_ends_at_the_smallest_set_that_flips(smallest):
    """With answers that flip at one size and stay flipped, as an oracle."""
    tried = {5: {k: k >= smallest for k in (10, 20, 40, 80)}}
    rounds = 0
    while found := midpoints(tried):
        k = found[5]
        assert k not in tried[5], "nothing is tried twice"
        tried[5][k] = k >= smallest
        rounds += 1
    assert min(k for k, flipped in tried[5].items() if flipped) == smallest
    assert smallest == 1 or not tried[5][smallest - 1]
    assert rounds <= 6  # the largest gap has 39 sizes in it


def test_there_is_nothing_to_halve_where_nothing_flips_or_nothing_lies_between():
    assert midpoints({1: {5: False, 10: False}, 2: {1: True}, 3: {4: False, 5: True}}) == {}
    assert midpoints({}) == {}


def test_halving_goes_by_the_smallest_flip_where_answers_flip_back_and_forth():
    assert midpoints({1: {5: True, 10: False, 20: True}}) == {1: 2}


def test_removals_are_compared_by_the_share_of_tests_whose_margin_is_lower():
    ours, theirs = np.zeros(40), np.where(np.arange(40) < 30, 1.0, -1.0)
    share, low, high = compare_removals(ours, theirs)
    assert share == 0.75
    # Both ends solve (share - p)^2 = z^2 p (1 - p) / n, which is what Wilson's interval means.
    for end in (low, high):
        assert (share - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 40, rel=1e-5)
    assert 0 < low < share < high < 1


@pytest.mark.parametrize("ours", [-1.0, 1.0])
def test_a_share_of_all_or_none_still_has_an_interval(ours):
    share, low, high = compare_removals(np.full(10, ours), np.zeros(10))
    assert share == (1.0 if ours < 0 else 0.0)
    assert low - 1e-9 <= share <= high + 1e-9
    assert 0 <= low < high <= 1
    assert 0.2 < high - low < 0.4


def test_equal_margins_are_no_win():
    assert compare_removals(np.zeros(10), np.zeros(10))[0] == 0


def test_fifty_megabytes_are_seen():
    """In a process of its own: memory that others gave back meanwhile would hide it."""
    code = (
        "import time, numpy as np\n"
        "from trak_core.evidence.cost import measured_cost\n"
        "with measured_cost() as cost:\n"
        "    block = np.ones(50_000_000, dtype=np.uint8)\n"
        "    time.sleep(0.1)\n"
        "    del block\n"
        "print(cost.peak_megabytes)\n"
    )
    peak = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 45 < peak < 100


def test_seconds_are_those_of_the_processor_not_of_the_clock():
    with measured_cost() as idle:
        time.sleep(0.2)
    with measured_cost() as busy:
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
    assert idle.seconds < 0.1
    assert 0.2 <= busy.seconds < 0.4


def test_an_error_inside_is_measured_and_passed_on():
    with pytest.raises(KeyError), measured_cost() as cost:
        sum(range(200_000))
        raise KeyError
    assert cost.seconds > 0


def test_a_quarter_of_the_tests_is_for_tuning_and_the_same_every_time():
    chosen = tuning_tests(360, seed=0)
    assert chosen.sum() == 90
    assert np.array_equal(chosen, tuning_tests(360, seed=0))
    assert not np.array_equal(chosen, tuning_tests(360, seed=1))


def test_of_few_tests_none_is_for_tuning():
    assert not tuning_tests(7, seed=0).any()
    assert tuning_tests(8, seed=0).sum() == 2
