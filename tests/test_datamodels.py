"""Methods that learn from retrained models, on outcomes whose makers are known, and against scikit-learn and loops."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, Ridge
from torch import Tensor, nn

from trak_core.methods import Examples, Ledger, MethodContext, ScoreMatrix, find_method
from trak_core.methods.datamodels import (
    RIDGES,
    SHARES,
    _left_out_error,
    lasso,
    ridge_regression,
)
from trak_core.tasks import Classification
from trak_core.training import draw_half_subsets

N_TRAIN, N_TEST, N_PLANTED = 60, 4, 5
METHODS = ["datamodel_ridge", "datamodel_lasso", "empirical", "banzhaf"]


def halves(n_subsets: int, n_train: int = N_TRAIN) -> Tensor:
    return torch.from_numpy(draw_half_subsets(n_subsets, n_train, seed=1))


def planted() -> Tensor:
    """Weights `[n_test, n_train]`, five of them not 0."""
    generator = torch.Generator().manual_seed(2)
    weights = torch.zeros(N_TEST, N_TRAIN, dtype=torch.float64)
    for row in weights:
        places = torch.randperm(N_TRAIN, generator=generator)[:N_PLANTED]
        row[places] = torch.tensor([2.0, -1.5, 1.0, -2.5, 1.5], dtype=torch.float64)
    return weights


def outcomes_of(masks: Tensor, weights: Tensor, noise: float = 0.0) -> Tensor:
    """Outcomes `[n_subsets, n_test]`, linear in membership but for an offset and noise."""
    generator = torch.Generator().manual_seed(3)
    random = torch.randn(len(masks), len(weights), generator=generator, dtype=torch.float64)
    return masks.double() @ weights.T + 7.0 + noise * random


def fit(method: str, masks: Tensor, outcomes: Tensor) -> ScoreMatrix:
    n_train, n_test = masks.shape[1], outcomes.shape[1]
    examples = (Examples(torch.zeros(n, 2), torch.zeros(n, dtype=torch.int64)) for n in (n_train, n_test))
    context = MethodContext(Classification(), nn.Linear(2, 2), [], *examples, ledger=Ledger(masks, outcomes))
    scores = find_method(method).fit(context)
    assert isinstance(scores, ScoreMatrix)
    return scores


def centred(values: Tensor) -> Tensor:
    return values.double() - values.double().mean(0)


def correlations(found: Tensor, expected: Tensor) -> list[float]:
    return [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(found, expected, strict=True)]


# --- recovery ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_planted_weights_are_found_in_noise(method: str):
    masks, weights = halves(400), planted()
    scores = fit(method, masks, outcomes_of(masks, weights, noise=0.3)).values
    # The difference of means takes every other example's work for noise.
    assert min(correlations(scores, weights)) > (0.85 if method == "empirical" else 0.95)
    largest = scores.abs().topk(N_PLANTED, dim=1).indices.sort(1).values
    assert torch.equal(largest, weights.nonzero()[:, 1].reshape(N_TEST, N_PLANTED))


def test_the_sparse_datamodel_gives_most_examples_nothing_and_the_planted_ones_something():
    masks, weights = halves(400), planted()
    scores = fit("datamodel_lasso", masks, outcomes_of(masks, weights, noise=0.3))
    assert (scores.values[weights != 0].sign() == weights[weights != 0].sign()).all()
    assert (scores.values[weights == 0] == 0).double().mean() > 0.5
    assert scores.settings["median_share"] == pytest.approx(min(SHARES), abs=0.05)


def test_least_squares_find_planted_weights_exactly_without_noise():
    generator = torch.Generator().manual_seed(4)
    masks, weights = torch.rand(80, N_TRAIN, generator=generator) < 0.5, planted()
    scores = fit("banzhaf", masks, outcomes_of(masks, weights)).values
    torch.testing.assert_close(scores, weights, rtol=1e-9, atol=1e-9)


def test_subsets_of_one_size_leave_a_constant_open_and_least_squares_take_the_shortest():
    masks, weights = halves(80), planted()
    scores = fit("banzhaf", masks, outcomes_of(masks, weights)).values
    torch.testing.assert_close(scores, weights - weights.mean(1, keepdim=True), rtol=1e-9, atol=1e-9)


def test_with_few_subsets_least_squares_predict_them_and_are_the_shortest_that_do():
    masks, weights = halves(25), planted()
    outcomes = outcomes_of(masks, weights, noise=1.0)
    scores = fit("banzhaf", masks, outcomes).values
    torch.testing.assert_close(centred(masks) @ scores.T, centred(outcomes), rtol=1e-8, atol=1e-8)
    shortest = (torch.linalg.pinv(centred(masks), rtol=1e-10) @ centred(outcomes)).T
    torch.testing.assert_close(scores, shortest, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_an_example_in_every_subset_or_in_none_gets_nothing(method: str):
    masks, weights = halves(30), planted()
    masks[:, 0], masks[:, 1] = True, False
    scores = fit(method, masks, outcomes_of(masks, weights, noise=0.1)).values
    assert scores.isfinite().all()
    assert scores[:, :2].abs().max() < 1e-10
    assert scores[:, 2:].any()


@pytest.mark.parametrize("method", METHODS)
def test_outcomes_in_single_precision_are_enough_and_an_offset_changes_nothing(method: str):
    masks, weights = halves(100), planted()
    outcomes = outcomes_of(masks, weights, noise=0.3)
    expected = fit(method, masks, outcomes).values
    for other in (outcomes.float(), outcomes + 5):
        scores = fit(method, masks, other).values
        assert scores.dtype == other.dtype
        torch.testing.assert_close(scores.double(), expected, rtol=1e-3, atol=1e-3)


# --- ridge ---------------------------------------------------------------------------------------------------


def absolute(masks: Tensor, ridge: float) -> float:
    """The ridge that a relative one means for these masks."""
    return ridge * float((centred(masks) ** 2).sum(1).mean())


@pytest.mark.parametrize("n_subsets", [30, 90])
@pytest.mark.parametrize("ridge", [0.03, 1.0, 30.0])
def test_ridge_regression_is_that_of_scikit_learn(n_subsets: int, ridge: float):
    masks = halves(n_subsets)
    outcomes = outcomes_of(masks, planted(), noise=0.5)
    found = ridge_regression(centred(masks), centred(outcomes), ridge)
    expected = Ridge(alpha=absolute(masks, ridge), tol=1e-12).fit(masks.numpy(), outcomes.numpy()).coef_
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("ridge", [0.03, 1.0])
def test_the_error_on_a_subset_left_out_is_that_of_fitting_without_it(ridge: float):
    masks = halves(20)
    inputs, outcomes = centred(masks), centred(outcomes_of(masks, planted(), noise=0.5))
    penalty, squares = absolute(masks, ridge) * torch.eye(N_TRAIN, dtype=torch.float64), []
    for left_out in range(len(masks)):
        known = torch.arange(len(masks)) != left_out
        gram = inputs[known].T @ inputs[known] + penalty
        weights = torch.linalg.solve(gram, inputs[known].T @ outcomes[known])
        squares.append((outcomes[left_out] - inputs[left_out] @ weights) ** 2)
    assert _left_out_error(inputs, outcomes, ridge) == pytest.approx(float(torch.stack(squares).mean()), rel=1e-9)


def test_the_ridge_with_the_least_error_left_out_is_taken():
    masks = halves(100)
    for noise in (0.01, 3.0):
        outcomes = outcomes_of(masks, planted(), noise)
        scores = fit("datamodel_ridge", masks, outcomes)
        errors = [_left_out_error(centred(masks), centred(outcomes), ridge) for ridge in RIDGES]
        ridge = RIDGES[int(np.argmin(errors))]
        assert scores.settings == {"ridge": ridge}
        assert torch.equal(scores.values, ridge_regression(centred(masks), centred(outcomes), ridge))
        assert ridge > 1 if noise == 3.0 else ridge < 1


# --- lasso ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_subsets", [40, 200])
def test_lasso_solutions_meet_their_conditions(n_subsets: int):
    masks = halves(n_subsets)
    inputs, outcomes = centred(masks), centred(outcomes_of(masks, planted(), noise=0.3))
    first = (outcomes.T @ inputs / n_subsets).abs().amax(1, keepdim=True)
    for share, found in zip(SHARES, lasso(inputs, outcomes, SHARES), strict=True):
        penalty = share * first
        slope = (outcomes - inputs @ found.T).T @ inputs / n_subsets  # of the squared error, downhill
        tolerance = 0.01 * penalty
        assert (slope.abs() <= penalty + tolerance).all()
        assert ((slope - penalty * found.sign()).abs() <= tolerance)[found != 0].all()
        assert (found != 0).any(1).all()
    assert not lasso(inputs, outcomes, [1.0])[0].any()


def test_the_lasso_is_that_of_scikit_learn():
    masks = halves(200)
    inputs, outcomes = centred(masks), centred(outcomes_of(masks, planted(), noise=0.3))
    for share, found in zip(SHARES, lasso(inputs, outcomes, SHARES), strict=True):
        for row, outcome in zip(found, outcomes.T, strict=True):
            penalty = share * float((outcome @ inputs).abs().max()) / len(masks)
            model = Lasso(alpha=penalty, tol=1e-10, max_iter=100_000, fit_intercept=False)
            np.testing.assert_allclose(row.numpy(), model.fit(inputs, outcome).coef_, rtol=0, atol=1e-4)


def test_the_penalty_is_chosen_for_each_test_example_by_its_own_outcomes():
    masks = halves(200)
    clear = outcomes_of(masks, planted(), noise=0.05)
    noise = torch.randn(200, N_TEST, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    both = fit("datamodel_lasso", masks, torch.cat([clear, noise], dim=1)).values
    torch.testing.assert_close(both[:N_TEST], fit("datamodel_lasso", masks, clear).values)
    torch.testing.assert_close(both[N_TEST:], fit("datamodel_lasso", masks, noise).values)


# --- difference of means -------------------------------------------------------------------------------------


def test_empirical_influence_is_the_difference_of_mean_outcomes():
    masks = halves(30)
    outcomes = outcomes_of(masks, planted(), noise=0.5)
    scores = fit("empirical", masks, outcomes).values
    for test in range(N_TEST):
        for train in range(N_TRAIN):
            with_it, without = outcomes[masks[:, train], test], outcomes[~masks[:, train], test]
            assert float(scores[test, train]) == pytest.approx(float(with_it.mean() - without.mean()), abs=1e-9)
