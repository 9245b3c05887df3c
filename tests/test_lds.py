"""LDS by hand, its interval by resampling for real, its ceiling by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from tests.oracles import plain_spearman
from trak_core.errors import InvalidSettingError
from trak_core.evidence.bootstrap import centred_ranks
from trak_core.evidence.lds import (
    calibration_slope,
    lds_interval,
    lds_per_test,
    measure_lds,
    noise_ceiling,
    noise_ceiling_per_test,
    predicted_outcomes,
    rank_nothing,
    trust_level,
)


def test_lds_of_a_hand_worked_case():
    """Four subsets of three train examples; sums 3, 1, 2, 4 against outcomes 0.3, 0.1, 0.4, 0.9.

    Ranks (3, 1, 2, 4) and (2, 1, 3, 4): squared differences 1 + 0 + 1 + 0 = 2, rho = 1 - 6 * 2 / (4 * 15) = 0.8.
    """
    scores = np.array([[1.0, 2.0, 1.0]], dtype=np.float32)
    masks = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], dtype=bool)
    predicted = predicted_outcomes(scores, masks)
    assert predicted[:, 0].tolist() == [3, 1, 2, 4]
    assert lds_per_test(predicted, np.array([[0.3], [0.1], [0.4], [0.9]])) == pytest.approx([0.8])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=12))
def test_lds_equals_spearman_by_definition_also_with_ties(pairs):
    left, right = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    expected = plain_spearman(left.tolist(), right.tolist())
    assert lds_per_test(left[:, None], right[:, None])[0] == pytest.approx(expected, nan_ok=True)


def test_predictions_that_say_nothing_count_as_0_and_are_not_left_out():
    actual = np.random.default_rng(0).normal(size=(6, 2))
    evidence = measure_lds(np.column_stack([np.ones(6), actual[:, 1]]), actual, seed=0)
    assert (evidence.per_test[0], evidence.per_test_low[0], evidence.per_test_high[0]) == (0, 0, 0)
    assert evidence.mean == pytest.approx(0.5)
    silent = measure_lds(np.ones((6, 2)), actual, seed=0)
    assert (silent.mean, silent.ci_low, silent.ci_high) == (0, 0, 0)


def test_outcomes_that_are_the_same_for_all_subsets_leave_lds_undefined():
    predicted = np.random.default_rng(0).normal(size=(6, 2))
    actual = np.column_stack([np.ones(6), predicted[:, 1]])
    for each in (predicted, np.column_stack([np.ones(6), predicted[:, 1]])):
        evidence = measure_lds(each, actual, seed=0)
        assert np.isnan([evidence.per_test[0], evidence.per_test_low[0]]).all() and evidence.mean == pytest.approx(1)


def test_scores_that_are_the_same_but_for_rounding_predict_nothing():
    masks = np.random.default_rng(0).random((20, 50)) < 0.5  # of many sizes
    scores = np.float32(0.1) + np.zeros((3, 50), dtype=np.float32)
    scores[1] += 1e-9 * np.arange(50, dtype=np.float32)
    scores[2, 7] += np.float32(1e-3)
    assert rank_nothing(scores).tolist() == [True, True, False]
    assert (np.ptp(predicted_outcomes(scores, masks), axis=0) == 0).tolist() == [True, True, False]


@given(
    st.lists(st.integers(0, 4), min_size=3, max_size=9),
    st.data(),
)
@settings(deadline=None)
def test_bootstrap_ranks_equal_ranks_of_rows_that_are_really_repeated(values, data):
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    column, weights = np.array(values, dtype=float), np.array(weights)
    ranks = centred_ranks(column, weights[None].astype(np.float32))[0]
    expected = rankdata(np.repeat(column, weights)) - (weights.sum() + 1) / 2
    starts = np.cumsum(weights) - weights
    assert ranks[weights > 0] == pytest.approx(expected[starts[weights > 0]])


def test_the_interval_holds_the_estimate_and_narrows_with_more_subsets():
    generator = np.random.default_rng(0)

    def width(n_subsets: int) -> float:
        actual = generator.normal(size=(n_subsets, 30))
        evidence = measure_lds(actual + generator.normal(size=actual.shape), actual, seed=1)
        assert evidence.ci_low < evidence.mean < evidence.ci_high
        return evidence.ci_high - evidence.ci_low

    assert width(200) < 0.7 * width(25)


def test_intervals_of_single_examples_cover_the_truth_about_as_often_as_they_say():
    """500 draws of 40 subsets with a known rank correlation; 95% intervals should miss about 25 times."""
    generator = np.random.default_rng(3)
    pearson = 0.7
    true_spearman = 6 / np.pi * np.arcsin(pearson / 2)  # of a bivariate normal distribution
    left = generator.normal(size=(40, 500))
    right = pearson * left + np.sqrt(1 - pearson**2) * generator.normal(size=left.shape)
    low, high = lds_interval(lds_per_test(left, right), 40)
    covered = ((low <= true_spearman) & (true_spearman <= high)).mean()
    assert 0.92 <= covered <= 0.98


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_the_noise_ceiling_is_what_a_perfect_method_reaches(noise):
    """The true outcomes, as predictions, reach the ceiling that is estimated from noisy seeds alone."""
    generator = np.random.default_rng(1)
    truth = generator.normal(size=(300, 80))
    outcomes = truth[:, None, :] + noise * generator.normal(size=(300, 4, 80))
    reached = np.nanmean(lds_per_test(truth, outcomes.mean(1)))
    # Spearman-Brown is exact for Pearson correlations; for ranks of normal data it is off by about .01.
    assert noise_ceiling(outcomes) == pytest.approx(reached, abs=0.02)


def test_the_noise_ceiling_is_undefined_with_one_seed():
    outcomes = np.random.default_rng(0).normal(size=(10, 1, 3))
    assert np.isnan(noise_ceiling(outcomes))
    assert np.isnan(noise_ceiling_per_test(outcomes)).all()


def test_too_few_subsets_or_other_shapes_are_refused():
    with pytest.raises(InvalidSettingError, match="at least 4 subsets"):
        lds_per_test(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(InvalidSettingError, match=r"shape \(5, 2\)"):
        lds_per_test(np.ones((5, 2)), np.ones((5, 3)))


def test_the_calibration_slope_is_the_planted_one():
    predicted = np.random.default_rng(0).normal(size=(20, 4))
    assert calibration_slope(predicted, 2.5 * predicted + np.arange(4)) == pytest.approx(2.5)
    assert np.isnan(calibration_slope(np.ones((5, 2)), np.ones((5, 2))))


@pytest.mark.parametrize(
    ("ci_low", "level"),
    [
        (0.5, "high"),
        (0.49, "moderate"),
        (0.25, "moderate"),
        (0.24, "low"),
        (-1, "low"),
        (None, "not measured"),
    ],
)
def test_trust_goes_by_the_lower_end_of_the_interval(ci_low, level):
    assert trust_level(ci_low) == level
