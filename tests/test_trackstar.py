"""TrackStar against a dense computation with the inverse root of the matrix."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.oracles import loop_gradients
from trak_core.errors import SingularKernelError
from trak_core.methods import RIDGES, Examples, MethodContext, Tuning, find_method
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed
from trak_core.tasks import Classification, Regression, Task

N_TRAIN, N_TEST = 20, 5
TASK = Classification()
CLOSE = {"rtol": 1e-7, "atol": 1e-9}


def context_of(task: Task = TASK, n_checkpoints: int = 2, **kwargs) -> MethodContext:
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double() for _ in range(n_checkpoints)]
    if not task.has_classes:
        models = [nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double() for _ in range(n_checkpoints)]
    inputs = torch.randn(N_TRAIN + N_TEST, 4, dtype=torch.float64)
    targets = inputs[:, :3].argmax(1) if task.has_classes else inputs[:, 0] * 2 - inputs[:, 1]
    sides = [Examples(inputs[part], targets[part]) for part in (slice(N_TRAIN), slice(N_TRAIN, None))]
    return MethodContext(task, models[0], [model.state_dict() for model in models], *sides, **kwargs)


def plain_cosines(train: Tensor, test: Tensor, ridge: float) -> np.ndarray:
    """Cosines `[n_test, n_train]` of loss gradients `[n, k]` times the inverse root of R."""
    train, test = train.numpy(), test.numpy()
    damping = ridge * (train**2).sum(1).mean()
    values, vectors = np.linalg.eigh(train.T @ train + damping * np.eye(train.shape[1]))
    root = vectors / np.sqrt(values) @ vectors.T
    train, test = ((rows @ root) for rows in (train, test))
    return (test / np.linalg.norm(test, axis=1)[:, None]) @ (train / np.linalg.norm(train, axis=1)[:, None]).T


@pytest.mark.parametrize("ridge", [0.05, 1.0])
def test_whole_gradients_give_the_cosines_of_a_dense_solve(ridge: float):
    context = context_of(ridge=ridge)
    expected = []
    for weights in context.states:
        train, test = (
            loop_gradients(context.architecture, weights, part.inputs, part.targets)
            for part in (context.train, context.test)
        )
        expected.append(plain_cosines(train * context.q(weights)[:, None], test, ridge))
    scores = find_method("trackstar").fit(context)
    np.testing.assert_allclose(scores.block(slice(None)).numpy(), np.mean(expected, axis=0), **CLOSE)
    assert scores.settings == {"ridge": ridge}


def test_projected_gradients_give_the_cosines_of_their_rows():
    context = context_of(n_checkpoints=1, proj_dim=16, ridge=0.5, seed=3)
    rows, weights = context.gradients, context.states[0]
    sketch = SketchMap(rows.layers, SjltProjection(16, derive_seed(3, "trackstar projection", 0)))
    train, test = (
        torch.cat(list(rows.blocks(weights, part.inputs, part.targets, sketch)))
        for part in (context.train, context.test)
    )
    expected = plain_cosines(train * context.q(weights)[:, None], test, 0.5)
    scores = find_method("trackstar").fit(context).block(slice(None))
    np.testing.assert_allclose(scores.numpy(), expected, **CLOSE)


def test_a_residual_turns_the_sign_and_its_size_changes_nothing_but_the_matrix():
    context = context_of(Regression(), n_checkpoints=1, ridge=1e6)
    q = context.q(context.states[0])
    scores = find_method("trackstar").fit(context).block(slice(None))
    # With so much damping R is the identity, and what is left are cosines of gradients.
    alike = find_method("grad_cos").fit(context).block(slice(None))
    torch.testing.assert_close(scores, alike, rtol=1e-3, atol=1e-4)
    assert (q < 0).any() and (q > 0).any()


def test_an_example_scores_highest_for_itself_and_exactly_one():
    context = context_of(n_checkpoints=1)
    context = MethodContext(context.task, context.architecture, context.states, context.train, context.train)
    scores = find_method("trackstar").fit(context).block(slice(None))
    torch.testing.assert_close(scores.diagonal(), torch.ones(N_TRAIN, dtype=torch.float64))
    assert scores.abs().max() <= 1 + 1e-9


def test_examples_that_pull_nowhere_score_nothing():
    model = nn.Linear(3, 2, bias=False)
    train, test = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), torch.eye(3)
    train[2], test[1] = 0, 0
    sides = Examples(train, torch.arange(6) % 2), Examples(test, torch.tensor([0, 1, 0]))
    scores = find_method("trackstar").fit(MethodContext(Classification(), model, [model.state_dict()], *sides))
    block = scores.block(slice(None))
    assert block.isfinite().all() and not block[1].any() and not block[:, 2].any()


def test_the_damping_is_the_one_that_predicts_the_tuning_subsets_best():
    masks = torch.rand(8, N_TRAIN, generator=torch.Generator().manual_seed(2)) < 0.5
    for wanted in (RIDGES[0], RIDGES[4]):
        aim = find_method("trackstar").fit(context_of(n_checkpoints=1, ridge=wanted)).predict(masks)
        tuning = Tuning(masks, lambda predicted, aim=aim: -float((predicted - aim).abs().sum()))
        assert find_method("trackstar").fit(context_of(n_checkpoints=1, tuning=tuning)).settings == {"ridge": wanted}


def test_no_damping_at_all_is_refused():
    with pytest.raises(SingularKernelError, match="'trackstar' need a damping"):
        find_method("trackstar").fit(context_of(ridge=0.0))
