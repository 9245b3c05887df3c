"""The dual kernel against a dense solve in parameter space, in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.oracles import primal_trak
from trak_core.errors import InvalidSettingError, SingularKernelError
from trak_core.methods import CheckpointKernel, Examples, MethodContext, find_method
from trak_core.projection import SjltProjection, SketchMap
from trak_core.tasks import Classification

N_TRAIN, N_TEST, N_PARAMETERS = 23, 7, 40


def features(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(N_TRAIN, N_PARAMETERS)), generator.normal(size=(N_TEST, N_PARAMETERS))


def dual_kernel(train: np.ndarray) -> CheckpointKernel:
    sketch = SketchMap([], SjltProjection(train.shape[1], 0))  # for its inner products, the plain ones
    return CheckpointKernel([torch.from_numpy(train)], sketch, dual=True)


def dual_trak(train: np.ndarray, test: np.ndarray, ridge: float) -> np.ndarray:
    kernel = dual_kernel(train)
    return kernel.attribute(kernel.read([torch.from_numpy(test)]), ridge).numpy()


@pytest.mark.parametrize("ridge", [0.01, 1.0, 30.0])
def test_dual_scores_equal_a_dense_solve_over_parameters(ridge):
    cases = [features(seed) for seed in range(3)]
    q = np.random.default_rng(9).uniform(size=N_TRAIN)
    dual = np.mean([dual_trak(train, test, ridge) for train, test in cases], axis=0) * q
    primal = primal_trak([train for train, _ in cases], [test for _, test in cases], q, ridge)
    assert dual.shape == (N_TEST, N_TRAIN)
    np.testing.assert_allclose(dual, primal, rtol=1e-8, atol=1e-12)


def test_scores_follow_a_permutation_of_the_training_set():
    train, test = features(0)
    order = np.random.default_rng(1).permutation(N_TRAIN)
    np.testing.assert_allclose(dual_trak(train[order], test, 1.0), dual_trak(train, test, 1.0)[:, order], rtol=1e-9)


def test_scores_do_not_depend_on_the_scale_of_gradients_but_for_the_ridge_being_relative():
    train, test = features(0)
    np.testing.assert_allclose(dual_trak(5 * train, 5 * test, 0.3), dual_trak(train, test, 0.3), rtol=1e-9)


def test_predictions_for_subsets_equal_summed_scores():
    train, test = features(0)
    q = np.random.default_rng(9).uniform(size=N_TRAIN)
    masks = np.random.default_rng(2).uniform(size=(5, N_TRAIN)) < 0.5
    kernel = dual_kernel(train)
    predicted = kernel.predict(kernel.read([torch.from_numpy(test)]), 1.0, torch.from_numpy(masks * q)).numpy()
    np.testing.assert_allclose(predicted, (dual_trak(train, test, 1.0) * q) @ masks.T, rtol=1e-9)


def test_a_singular_kernel_is_refused_with_its_numbers():
    kernel = dual_kernel(np.ones((5, 1)))
    with pytest.raises(SingularKernelError, match=r"5 train examples with ridge=0 .*larger ridge"):
        kernel.leverages(0)


@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf")])
def test_an_impossible_ridge_is_refused(ridge):
    with pytest.raises(InvalidSettingError, match="ridge="):
        dual_kernel(np.eye(3)).leverages(ridge)


def context_of(train: list[list[float]], labels: list[int], test: list[list[float]], targets: list[int]):
    """Examples of a model that is one Linear layer, so that inputs are what the layer sees."""
    model = torch.nn.Linear(2, 2)
    examples = [
        Examples(torch.tensor(inputs), torch.tensor(asked)) for inputs, asked in ((train, labels), (test, targets))
    ]
    return MethodContext(Classification(), model, [model.state_dict()], *examples)


def test_same_class_scores_are_one_for_the_target_class_only():
    context = context_of([[0.0, 0], [0, 0], [0, 0]], [0, 1, 1], [[0.0, 0], [0, 0]], [1, 0])
    scores = find_method("same_class").fit(context).block(slice(None))
    assert scores.tolist() == [[0, 1, 1], [1, 0, 0]]


def test_embedding_scores_are_cosines_and_zero_for_a_zero_vector():
    context = context_of([[2.0, 0], [0, 1], [1, 1], [0, 0]], [0, 0, 0, 0], [[3.0, 0.0]], [0])
    scores = find_method("embedding").fit(context).block(slice(None))
    np.testing.assert_allclose(scores, [[1, 0, 0.5**0.5, 0]], rtol=1e-6)


def test_random_scores_repeat_with_their_seed():
    context = context_of([[0.0, 0]] * 3, [0, 1, 1], [[0.0, 0]] * 2, [1, 0])
    first, again, other = (
        find_method("random").fit(replace(context, seed=seed)).block(slice(None)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("ridge", [1e-2, 1.0])
def test_single_precision_keeps_its_digits_down_to_small_ridges(ridge):
    """Float32 inner products carry 7 digits; a kernel of many more examples than dimensions must not lose more."""
    generator = np.random.default_rng(0)
    train, test = generator.normal(size=(400, 30)), generator.normal(size=(9, 30))
    scores = dual_trak(train.astype(np.float32), test.astype(np.float32), ridge)
    exact = dual_trak(train, test, ridge)
    assert np.abs(scores - exact).max() / np.abs(exact).max() < 1e-3
