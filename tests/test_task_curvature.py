"""The curvature that a task gives, and the methods that work with it, against dense Hessians of any loss."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev, vmap

from trak_core.curvature import fisher_matrix, fit_ekfac
from trak_core.errors import NeedNotMetError
from trak_core.methods import Examples, MethodContext, Need, find_method, influence
from trak_core.methods.magic import magic_scores
from trak_core.methods.source import source_scores
from trak_core.tasks import Classification, CustomTask, Regression, Task, draw_parts
from trak_core.training import Moment, Schedule, TrainingLog, TrainingSettings, train_recorded, train_reweighted

# torch's own, when it takes its first forward derivative.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
N_TRAIN, N_TEST, N_INPUTS, DAMPING = 18, 4, 5, 0.02
# float64: what differs is the order of sums, times the condition of the matrix.
CLOSE = {"rtol": 1e-7, "atol": 1e-10}
EVERYTHING = slice(None)

POISSON = CustomTask(
    lambda outputs, target: outputs[:, 0],
    lambda outputs, target: target - outputs[:, 0].exp(),
    name="poisson",
    loss_function=lambda outputs, target: outputs[:, 0].exp() - target * outputs[:, 0],
)
"""Counts: the curvature depends on the output."""
WEIGHTED = CustomTask(
    lambda outputs, target: outputs,
    lambda outputs, target: target * torch.sigmoid(-target * outputs),
    name="weighted",
    loss_function=lambda outputs, target: torch.nn.functional.softplus(-target * outputs),
)
"""One output [n], yes or no by the sign of the target and with its size as a weight: the curvature depends on it."""
CLASSES = Classification()
BY_FUNCTIONS = CustomTask(CLASSES.model_output, CLASSES.out_to_loss, name="by functions", loss_function=CLASSES.loss)
"""Classification without what it knows of its curvature."""


class OneColumn(nn.Module):
    """One output an example, without a column."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(N_INPUTS, 3), nn.Tanh(), nn.Linear(3, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs)[:, 0]


def network(n_outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(N_INPUTS, 3), nn.Tanh(), nn.Linear(3, n_outputs))


def numbers(n: int) -> Tensor:
    return torch.linspace(-2, 2, n, dtype=torch.float64)


CASES: dict[str, tuple[Task, Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "regression": (Regression(), lambda: network(1), numbers),
    "poisson": (POISSON, lambda: network(1), lambda n: torch.arange(n) % 4.0),
    "weighted": (WEIGHTED, OneColumn, numbers),
    "classes": (CLASSES, lambda: network(3), lambda n: torch.arange(n) % 3),
    "classes by functions": (BY_FUNCTIONS, lambda: network(3), lambda n: torch.arange(n) % 3),
}
ALL_CASES = pytest.mark.parametrize("case", CASES)


def context_of(case: str, n_checkpoints: int = 1) -> MethodContext:
    torch.manual_seed(7)
    task, build, targets = CASES[case]
    model = build().double().eval()
    states = [
        {name: value + 0.3 * torch.randn_like(value) for name, value in model.state_dict().items()}
        for _ in range(n_checkpoints)
    ]
    train, test = (Examples(torch.randn(n, N_INPUTS, dtype=torch.float64), targets(n)) for n in (N_TRAIN, N_TEST))
    return MethodContext(task, model, states, train, test, weight_decay=DAMPING)


class Dense:
    """Gradients of f and the Gauss-Newton matrix at one checkpoint, all by `jacrev` and `hessian`.

    Columns are in the order of the rows of gradients.
    """

    def __init__(self, context: MethodContext, checkpoint: int = 0) -> None:
        state, task, train = context.states[checkpoint], context.task, context.train

        def outputs(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
            return functional_call(context.architecture, parameters, (inputs,))

        def rows(function: Callable[[dict[str, Tensor]], Tensor]) -> Tensor:
            found = jacrev(function)(state)
            blocks = []
            for layer in context.gradients.layers:
                parts = [found[name] for name in layer.parameters]  # a weight matrix and its bias
                of_layer = torch.cat(
                    [
                        part.reshape(*part.shape[:-2], layer.n_rows, -1) if i == 0 else part[..., None]
                        for i, part in enumerate(parts)
                    ],
                    dim=-1,
                )
                blocks.append(of_layer.flatten(-2))
            return torch.cat(blocks, dim=-1)

        def f(examples: Examples) -> Tensor:
            return rows(lambda at: task.model_output(outputs(at, examples.inputs), examples.targets))

        given = outputs(state, train.inputs)
        flat = given.reshape(N_TRAIN, -1)
        curved = vmap(hessian(lambda z, y: task.loss(z.reshape(given[:1].shape), y[None])[0]))(flat, train.targets)
        moved = rows(lambda at: outputs(at, train.inputs).reshape(N_TRAIN, -1))  # [n, n_outputs, p]
        self.matrix = torch.einsum("nip,nij,njq->pq", moved, curved, moved) / N_TRAIN
        self.train, self.test = f(train), f(context.test)
        self.q = task.out_to_loss(given, train.targets)

    def influence(self, matrix: Tensor | None = None) -> Tensor:
        damped = (self.matrix if matrix is None else matrix) + DAMPING * torch.eye(len(self.matrix)).double()
        return self.test @ torch.linalg.solve(damped, (self.train * self.q[:, None]).T) / N_TRAIN


def scores_of(method: str, context: MethodContext) -> Tensor:
    return find_method(method).fit(context).block(EVERYTHING)


@ALL_CASES
def test_the_parts_of_the_curvature_add_up_to_the_dense_gauss_newton_matrix(case: str):
    context = context_of(case)
    rows = influence._fisher_rows(context, context.states[0])
    found = fisher_matrix(rows, context.n_parameters, N_TRAIN, like=context.train.inputs)
    torch.testing.assert_close(found, Dense(context).matrix, **CLOSE)


@ALL_CASES
def test_exact_influence_is_a_dense_solve_for_every_loss(case: str):
    context = context_of(case, n_checkpoints=2)
    expected = sum(Dense(context, checkpoint).influence() for checkpoint in range(2)) / 2
    torch.testing.assert_close(scores_of("influence_exact", context), expected, **CLOSE)


@ALL_CASES
def test_conjugate_gradients_reach_exact_influence_for_every_loss(case: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(influence, "TOLERANCE", 1e-11)
    monkeypatch.setattr(influence.solve_by_steps, "__defaults__", (1e-11,))
    context = context_of(case)
    torch.testing.assert_close(scores_of("influence_cg", context), Dense(context).influence(), rtol=1e-6, atol=1e-8)


def ekfac_matrix(context: MethodContext, states: list[dict[str, Tensor]]) -> Tensor:
    train = context.train
    factors = fit_ekfac(context.gradients.computer, states, train.inputs, 0, draws=None, targets=train.targets)
    rotated = factors.rotate_rows(torch.eye(factors.width, dtype=torch.float64))
    return factors.rotate_back(factors.filter(rotated, lambda eigenvalues: eigenvalues))


@ALL_CASES
def test_ekfac_influence_is_a_dense_solve_with_its_own_matrix_for_every_loss(case: str):
    context = context_of(case)
    matrix = ekfac_matrix(context, context.states)
    # EK-FAC keeps the trace of each block, whatever its basis; all blocks together are the diagonal of the matrix.
    dense = Dense(context)
    torch.testing.assert_close(matrix.trace(), dense.matrix.trace())
    torch.testing.assert_close(scores_of("influence_ekfac", context), dense.influence(matrix), **CLOSE)


@pytest.mark.parametrize("case", ["regression", "poisson"])
def test_source_with_one_segment_is_its_formula_with_dense_matrices(case: str):
    context = context_of(case, n_checkpoints=3)
    schedule = Schedule(TrainingSettings(2, 3, 0.1, 0.9, DAMPING), N_TRAIN)
    moments = [Moment(i * schedule.steps_an_epoch, dict(state), {}) for i, state in enumerate(context.states)]
    states = context.states[1:]
    identity = torch.eye(context.n_parameters, dtype=torch.float64)
    curvature = ekfac_matrix(context, states) + DAMPING * identity
    time = sum(schedule.learning_rate(step) for step in range(schedule.n_steps)) / (1 - 0.9)
    moved = torch.linalg.solve(curvature, identity - torch.matrix_exp(-time * curvature))
    queries, expected = Dense(context, 2).test, torch.zeros(N_TEST, N_TRAIN, dtype=torch.float64)
    for checkpoint in (1, 2):
        dense = Dense(context, checkpoint)
        expected += queries @ moved @ (dense.train * dense.q[:, None]).T / (2 * N_TRAIN)
    found = source_scores(context, TrainingLog(0, schedule, moments), n_segments=1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["influence_exact", "influence_cg", "influence_ekfac"])
def test_classes_by_functions_alone_give_the_scores_of_classification(method: str):
    """One takes the Fisher matrix over labels, the other the Hessian of the loss: they are the same matrix."""
    context = context_of("classes")
    by_functions = replace(context, task=BY_FUNCTIONS, _sides=[])
    atol = 1e-4 if method == "influence_cg" else 1e-9  # to its tolerance
    torch.testing.assert_close(scores_of(method, by_functions), scores_of(method, context), rtol=1e-5, atol=atol)


def test_magic_is_the_derivative_of_real_retraining_for_regression():
    settings = TrainingSettings(epochs=4, batch_size=6, learning_rate=0.05, momentum=0.9, weight_decay=0.01)
    context, epsilon = context_of("regression"), 1e-4
    inputs, targets = context.train.inputs, context.train.targets

    def make() -> nn.Module:
        return network(1).double()

    trained = train_recorded(make, Regression(), inputs, targets, [3], settings)
    scores = magic_scores(replace(context, logs=trained.logs), trained.logs[0])
    weights = np.ones((2 * N_TRAIN, N_TRAIN))
    weights[:N_TRAIN] += epsilon * np.eye(N_TRAIN)
    weights[N_TRAIN:] -= epsilon * np.eye(N_TRAIN)
    models = train_reweighted(make, Regression(), inputs, targets, weights, [3] * len(weights), settings)
    outputs = models.outputs(Regression(), context.test.inputs)[..., 0]
    expected = (outputs[:N_TRAIN] - outputs[N_TRAIN:]).T / (2 * epsilon)
    # Central differences are wrong by epsilon^2 times the third derivative.
    assert (scores - expected).abs().max() < 1e-6 * expected.abs().max()


@pytest.mark.parametrize("method", ["magic", "influence_exact", "influence_cg", "influence_ekfac", "source"])
def test_a_task_without_a_loss_is_refused_with_what_it_lacks(method: str):
    context = replace(context_of("poisson"), task=replace(POISSON, loss_function=None))
    needs = [need for need in find_method(method).info.needs if need == Need.LOSS]
    with pytest.raises(NeedNotMetError, match=r"needs a task that tells its loss.*loss_function"):
        context.require(method, needs)


# --- parts ---------------------------------------------------------------------------------------------------


def test_parts_are_drawn_in_proportion_to_their_share():
    """Over an even grid of random numbers the mean of what is drawn is the sum over all parts, to the grid's width."""
    shares = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64)
    n = 1000
    grid = (torch.arange(n) + 0.5) / n
    for draws in (1, 3):
        found = torch.zeros(4, dtype=torch.float64)
        for part, scale in draw_parts(shares.expand(n, -1), draws, grid):
            found.index_add_(0, part, scale**2 / n)
        torch.testing.assert_close(found, shares, rtol=0, atol=3 / n)


def test_all_parts_come_one_by_one_with_the_roots_of_their_shares():
    shares = torch.tensor([[1.0, 4.0], [9.0, 0.0]])
    parts = list(draw_parts(shares, None, None))
    assert [part.tolist() for part, _ in parts] == [[0, 0], [1, 1]]
    assert [scale.tolist() for _, scale in parts] == [[1, 3], [2, 0]]


def test_directions_in_which_the_loss_curves_downwards_are_left_out():
    """L = a b has the Hessian [[0, 1], [1, 0]]: of its eigenvalues 1 and -1 the second is dropped."""
    task = replace(WEIGHTED, loss_function=lambda outputs, target: outputs[:, 0] * outputs[:, 1])
    outputs = torch.randn(3, 2, dtype=torch.float64)
    total = torch.zeros(3, 2, 2, dtype=torch.float64)
    for part in task.curvature(outputs, torch.zeros(3)):
        total += (part.scale**2)[:, None, None] * part.target[:, :, None] * part.target[:, None, :]
    torch.testing.assert_close(total, torch.full((3, 2, 2), 0.5, dtype=torch.float64))


def test_the_curvature_of_a_sequence_is_that_of_its_numbers_one_after_another():
    """Targets and outputs of any shape: here [n, 2, 3] with L = sum of w z^2 / 2, whose Hessian is diag(w)."""
    task = CustomTask(
        lambda outputs, target: outputs.sum((1, 2)),
        lambda outputs, target: outputs.sum((1, 2)),
        loss_function=lambda outputs, target: (target * outputs**2).sum((1, 2)) / 2,
    )
    outputs, target = torch.randn(4, 2, 3, dtype=torch.float64), torch.rand(4, 2, 3, dtype=torch.float64)
    total = torch.zeros(4, 6, 6, dtype=torch.float64)
    for part in task.curvature(outputs, target):
        flat = part.target.flatten(1)
        total += (part.scale**2)[:, None, None] * flat[:, :, None] * flat[:, None, :]
    torch.testing.assert_close(total, torch.diag_embed(target.flatten(1)))
    torch.testing.assert_close(task.curvature_product(outputs, target, outputs), target * outputs)
