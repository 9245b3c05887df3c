"""LDS at fixed class counts by regressions in the open, its interval by resampling for real, and controls in pairs."""

import numpy as np
import pytest
from scipy.stats import rankdata

from trak_core.engine.evidence_step import Reported
from trak_core.evidence.bootstrap import Draws
from trak_core.evidence.controls import beats_controls, compare
from trak_core.evidence.fixed_counts import FixedCounts, group_counts, why_not_fixed
from trak_core.evidence.lds import (
    cap_of_lds_alone,
    lds_at_fixed_counts,
    lds_per_test,
    measure_lds,
    noise_ceiling,
    predicted_outcomes,
    trust_level,
)
from trak_core.exchange.evaluating import Sizes

N_TRAIN, N_TEST, N_CLASSES = 300, 40, 4


class World:
    """Random halves of examples with classes, and the sums of scores that a rule gives them."""

    def __init__(self, seed: int = 0, n_subsets: int = 80, n_classes: int = N_CLASSES) -> None:
        self.random = np.random.default_rng(seed)
        self.classes = self.random.integers(n_classes, size=N_TRAIN)
        self.test_classes = self.random.integers(n_classes, size=N_TEST)
        order = self.random.random((n_subsets, N_TRAIN)).argsort(axis=1)
        self.masks = order < N_TRAIN // 2
        self.counts = group_counts(self.masks, self.classes)
        self.fixed = FixedCounts(self.counts)

    def same_class(self) -> np.ndarray:
        return self.sums(self.test_classes[:, None] == self.classes[None])

    def sums(self, scores: np.ndarray) -> np.ndarray:
        return predicted_outcomes(np.asarray(scores, dtype=np.float32), self.masks)

    def noise(self, size: float, *more: int) -> np.ndarray:
        return size * self.random.standard_normal((len(self.masks), *more, N_TEST))


def blind_outcomes(world: World) -> np.ndarray:
    """What a model says that has learnt the share of each class and nothing else."""
    share = world.counts[:, world.test_classes] / (N_TRAIN // 2)
    return np.log(share / (1 - share)) + world.noise(0.02)


def test_a_rule_that_predicts_class_shares_has_a_high_lds_and_none_at_fixed_counts():
    world = World()
    found = measure_lds(world.same_class(), blind_outcomes(world), 0, fixed=world.fixed)
    assert found.mean > 0.9
    assert (found.fixed.mean, found.fixed.ci_low, found.fixed.ci_high) == (0, 0, 0)
    assert not found.fixed.per_test.any()
    assert not found.fixed.per_test_high.any()


def test_scores_that_predict_class_shares_with_some_noise_have_none_either():
    world = World(1)
    scores = (world.test_classes[:, None] == world.classes) + world.random.normal(0, 0.05, (N_TEST, N_TRAIN))
    found = measure_lds(world.sums(scores), blind_outcomes(world), 0, fixed=world.fixed)
    assert found.mean > 0.8
    assert found.fixed.ci_low < 0.05
    assert abs(found.fixed.mean) < 0.05


def test_an_additive_truth_that_does_not_follow_classes_keeps_its_lds():
    world = World(2)
    scores = world.random.standard_normal((N_TEST, N_TRAIN))
    predicted = world.sums(scores)
    found = measure_lds(predicted, predicted + world.noise(5.0), 0, fixed=world.fixed)
    assert found.mean > 0.7
    assert found.fixed.mean == pytest.approx(found.mean, abs=0.02)


def test_residuals_are_those_of_least_squares_with_an_intercept():
    world = World(3)
    values = world.noise(1.0)
    # Halves of one size have counts that add up to it, so that one column is collinear with the intercept.
    design = np.column_stack([np.ones(len(values)), world.counts])
    expected = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    np.testing.assert_allclose(world.fixed.residuals(values), expected, atol=1e-9)
    assert world.fixed.n_regressed == N_CLASSES - 1
    doubled = FixedCounts(np.column_stack([world.counts, 2 * world.counts, np.ones(len(values))]))
    np.testing.assert_allclose(doubled.residuals(values), expected, atol=1e-9)


@pytest.mark.parametrize("size", [1e-7, 1e-5])
def test_what_is_below_a_millionth_of_the_spread_is_rounding(size):
    world = World(4)
    follows = world.counts[:, :1] * 3 + 7
    values = follows + size * follows.std() * world.random.standard_normal(follows.shape)
    assert world.fixed.residuals(values).any() == (size > 1e-6)


def test_outcomes_that_follow_nothing_but_shares_leave_nothing_to_be_predicted():
    world = World(5)
    lds, low, high = lds_at_fixed_counts(
        world.sums(world.random.normal(size=(N_TEST, N_TRAIN))), world.same_class(), world.fixed
    )
    assert not np.any([lds, low, high])


def test_what_has_no_lds_has_none_at_fixed_counts_and_what_predicts_nothing_has_0():
    world = World(6)
    predicted, actual = world.same_class(), blind_outcomes(world)
    predicted[:, 0], actual[:, 1] = 3.0, 5.0
    found = measure_lds(predicted, actual, 0, fixed=world.fixed).fixed
    assert (found.per_test[0], found.per_test_low[0], found.per_test_high[0]) == (0, 0, 0)
    assert np.isnan(found.per_test[1]) and not np.isnan(found.per_test[2:]).any()


@pytest.mark.parametrize("seed", [7, 8])
def test_resampling_residuals_agrees_with_regressing_anew_in_every_resample(seed):
    """120 halves, 4 classes: 300 resamples of really repeated rows, each regressed and ranked by itself."""
    world = World(seed, n_subsets=120)
    truth = world.sums(world.random.standard_normal((N_TEST, N_TRAIN))) + 3 * world.same_class()
    predicted, actual = truth + world.noise(8.0), truth + world.noise(8.0)
    found = measure_lds(predicted, actual, 0, fixed=world.fixed).fixed
    means = []
    for _ in range(300):
        rows, tests = world.random.integers(120, size=120), world.random.integers(N_TEST, size=N_TEST)
        fixed = FixedCounts(world.counts[rows])
        lds = lds_per_test(*(fixed.residuals(side[rows]) for side in (predicted, actual)))
        means.append(lds[tests].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    assert found.ci_high - found.ci_low == pytest.approx(high - low, rel=0.15)


def test_intervals_at_fixed_counts_cover_the_truth_about_as_often_as_they_say():
    """500 draws of 40 halves of ten classes, predictions and outcomes that follow their shares, and a known rest."""
    random = np.random.default_rng(9)
    world = World(9, n_subsets=40, n_classes=10)
    pearson = 0.7
    true_spearman = 6 / np.pi * np.arcsin(pearson / 2)
    shares = world.counts @ random.normal(0, 3, (10, 500))
    left = random.normal(size=(40, 500))
    right = pearson * left + np.sqrt(1 - pearson**2) * random.normal(size=left.shape)
    _, low, high = lds_at_fixed_counts(left + shares, right - shares, world.fixed)
    assert 0.92 <= ((low <= true_spearman) & (true_spearman <= high)).mean() <= 0.98


@pytest.mark.parametrize("noise", [2.0, 10.0])
def test_the_ceiling_at_fixed_counts_is_what_a_perfect_method_reaches_there(noise):
    world = World(10, n_subsets=300)
    truth = world.sums(world.random.standard_normal((N_TEST, N_TRAIN))) + 5 * world.same_class()
    outcomes = truth[:, None] + world.noise(noise, 4)
    reached = measure_lds(truth, outcomes.mean(1), 0, n_bootstrap=2, fixed=world.fixed).fixed.mean
    ceiling = noise_ceiling(world.fixed.residuals(outcomes))
    assert ceiling == pytest.approx(reached, abs=0.02)
    assert ceiling < noise_ceiling(outcomes)


def test_many_classes_for_few_halves_cannot_be_measured_and_say_so():
    world = World(11, n_subsets=16, n_classes=7)
    found = measure_lds(world.same_class(), blind_outcomes(World(11, n_subsets=16, n_classes=7)), 0, fixed=world.fixed)
    assert found.fixed is None
    assert "7 classes need 18 random halves, and there are 16; more would do." in why_not_fixed(*world.counts.shape)
    assert not why_not_fixed(18, 7)


def test_other_groups_do_as_well_as_classes_also_where_an_example_is_in_several():
    world = World(12)
    documents = np.array(["a", "b", "c"])[world.random.integers(3, size=N_TRAIN)]
    by_name = group_counts(world.masks, documents)
    assert by_name.tolist() == [[np.sum(documents[mask] == name) for name in "abc"] for mask in world.masks]
    several = world.random.random((N_TRAIN, 5)) < 0.4
    counts = group_counts(world.masks, several)
    assert counts[3].tolist() == several[world.masks[3]].sum(0).tolist()
    follows = world.sums(several[:, :1].T.repeat(N_TEST, 0))
    assert not FixedCounts(counts).residuals(follows).any()


# --- resampling and pairs -----------------------------------------------------------------------------------


def test_resampled_correlations_are_those_of_rows_that_are_really_repeated():
    random = np.random.default_rng(13)
    left, right = random.normal(size=(12, 3)), random.normal(size=(12, 3))
    left[:, 1] = np.round(left[:, 1])
    draws = Draws.of(12, 3, 0, 20)
    found = draws.resample(left, right)
    for draw, weights in enumerate(draws.weights.astype(int)):
        for test in range(3):
            ranks = [rankdata(np.repeat(side[:, test], weights)) for side in (left, right)]
            assert found[draw, test] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-5)


def test_a_method_beside_itself_differs_by_nothing():
    world = World(14)
    predicted = world.sums(world.random.standard_normal((N_TEST, N_TRAIN)))
    found = measure_lds(predicted, predicted + world.noise(9.0), 0, fixed=world.fixed)
    same = compare(found, found)
    assert (same.plain.mean, same.plain.low, same.plain.high) == (0, 0, 0)
    assert (same.fixed.mean, same.fixed.low, same.fixed.high) == (0, 0, 0)


def test_pairs_tell_apart_what_intervals_of_each_cannot():
    world = World(15)
    truth = world.sums(world.random.standard_normal((N_TEST, N_TRAIN)))
    better = truth + world.noise(6.0)
    worse = better + world.noise(3.0)
    actual = truth + world.noise(6.0)
    one, other = (measure_lds(side, actual, 0) for side in (better, worse))
    assert one.ci_low < other.ci_high
    assert compare(one, other).plain.low > 0


def test_a_method_that_follows_class_shares_does_not_beat_the_rule_that_does():
    world = World(16)
    scores = (world.test_classes[:, None] == world.classes) + world.random.normal(0, 0.02, (N_TEST, N_TRAIN))
    actual = blind_outcomes(world)
    method, rule = (
        measure_lds(side, actual, 0, fixed=world.fixed) for side in (world.sums(scores), world.same_class())
    )
    assert not beats_controls([compare(method, rule).fixed.low])
    assert not beats_controls([compare(method, rule).plain.low])


@pytest.mark.parametrize(
    ("lower_ends", "beats"),
    [([0.1, 0.2], True), ([0.1, 0.0], False), ([0.1, None], True), ([float("nan"), -0.1], False), ([None], None)],
)
def test_controls_are_beaten_where_every_lower_end_is_above_0(lower_ends, beats):
    assert beats_controls(lower_ends) is beats


@pytest.mark.parametrize(
    ("ci_low", "fixed_low", "beats", "level"),
    [
        (0.6, 0.55, None, "high"),
        (0.6, 0.3, True, "moderate"),
        (0.9, -0.1, True, "low"),
        (0.3, 0.6, False, "moderate"),  # at fixed counts the controls are no matter of trust
        (0.6, None, None, "high"),
        (0.6, None, True, "high"),
        (0.6, float("nan"), False, "low"),
        (None, None, True, "not measured"),
    ],
)
def test_trust_goes_by_the_lower_of_the_two_and_by_the_controls_where_there_is_but_one(ci_low, fixed_low, beats, level):
    assert trust_level(ci_low, fixed_low, beats) == level


@pytest.mark.parametrize(
    ("lds", "controls", "level"),
    [
        (0.925, [0.917, 0.471, -0.01], "low"),
        (0.9, [0.45, None], "low"),
        (0.9, [0.44, float("nan")], "moderate"),
        (0.9, [-0.8], "moderate"),
        (0.9, [None], "moderate"),
        (0.9, [], "moderate"),
    ],
)
def test_lds_alone_deserves_low_trust_where_a_simple_rule_reaches_half_of_it_and_moderate_trust_otherwise(
    lds, controls, level
):
    cap = cap_of_lds_alone(lds, controls)
    assert cap == level
    assert trust_level(0.9, None, True, cap) == level
    assert trust_level(0.1, None, True, cap) == "low"
    assert trust_level(None, None, True, cap) == "not measured"


def test_class_shares_of_many_classes_earn_no_trust_though_the_rule_behind_them_is_beaten():
    """A little is added to what follows class shares; too few halves tell it apart from the rule for sure."""
    world = World(n_subsets=60, n_classes=40)
    shares, noise, tests = world.same_class(), world.noise(0.5), np.ones(N_TEST, dtype=bool)
    outcomes = np.stack([shares + noise] * 2, axis=1)
    reported = Reported.of(world.masks, outcomes, tests, Sizes(0, 2), world.classes)
    controls = {"same_class": reported.evidence(shares)}
    tables = reported.tables("mine", {0: shares + 0.5 * noise}, None, controls=controls)
    assert min(tables["lds"]["ci_low"]) > 0.5
    assert tables["control_comparisons"]["ci_low"][0] > 0, "it beats the rule"
    assert tables["lds_summary"]["lds_fixed"] == [None]
    assert set(tables["lds"]["trust"]) == {"low"}
    without = Reported.of(world.masks, outcomes, tests, Sizes(0, 2))
    again = without.tables("mine", {0: shares + 0.5 * noise}, None, controls=controls)
    assert set(again["lds"]["trust"]) == {"high"}, "without classes there are no shares to follow"
