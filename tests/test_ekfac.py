"""EK-FAC against loops over examples and classes, dense matrices, and kronfluence."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn import functional

from tests.benchmarks.digits_cnn import is_available, load_digits_cnn, make_model
from tests.benchmarks.ekfac_kronfluence import INSTALL, is_installed, run_kronfluence, run_ours, spearman_by_test
from tests.oracles import ekfac_applied
from tests.zoo import (
    N_CLASSES,
    Conv1D,
    convolutions,
    images,
    mlp,
    of_words,
    positions,
    sequences,
    tied,
    tokens,
    vectors,
)
from trak_core.curvature import EkfacFactors, damped_inverse, fit_ekfac
from trak_core.errors import EmptyDataError, InvalidSettingError, NeedNotMetError, NonFiniteGradientError
from trak_core.gradients import BatchGradients, GradientComputer, StateDict, find_layers, form
from trak_core.tasks import Classification, CustomTask, Regression, Task

# float64: what differs is only the order of sums over a few thousand numbers.
TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}
N = 12
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


def of_conv() -> nn.Module:
    return convolutions(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 2, stride=2))


def of_groups() -> nn.Module:
    return convolutions(nn.Conv2d(2, 4, 3, groups=2, bias=False))


def of_norms() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, N_CLASSES))


def of_sequences() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, N_CLASSES))


def many(make: Callable[[], Tensor], n: int = N) -> Callable[[], Tensor]:
    return lambda: torch.cat([make() for _ in range(1 + n // len(make()))])[:n]


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mlp": (mlp, many(vectors)),
    "conv": (of_conv, many(images)),
    "groups": (of_groups, many(images)),
    "sequences": (of_sequences, many(sequences)),
    "norms": (of_norms, many(vectors)),
    "words": (of_words, lambda: tokens(N)),
    "positions": (lambda: positions(lambda each: each[None], 6), lambda: tokens(N)),
    "tied": (tied, lambda: tokens(N)),
    "turned": (lambda: nn.Sequential(Conv1D(8, 6), nn.Tanh(), Conv1D(N_CLASSES, 8)), many(vectors)),
}
ALL_MODELS = pytest.mark.parametrize("name", MODELS)


def made(name: str, seed: int = 0) -> tuple[nn.Module, StateDict, Tensor]:
    """A model in float64, its weights, and inputs."""
    torch.manual_seed(seed)
    build, make = MODELS[name]
    model, inputs = build(), make()
    model(inputs)  # lazy layers find their sizes
    model = model.double().eval()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    weights = dict([*model.named_parameters(), *model.named_buffers()])  # a shared weight once
    return model, {key: value.detach() for key, value in weights.items()}, inputs


def computer_of(model: nn.Module, inputs: Tensor, way: str = "auto", task: Task | None = None) -> GradientComputer:
    computer = GradientComputer(model, task or Classification(), find_layers(model), "float64")
    targets = torch.zeros(len(inputs)) if isinstance(task, Regression) else torch.zeros(len(inputs), dtype=torch.int64)
    computer.choose(model.state_dict(), inputs, targets, way)
    return computer


def gradients_of(computer: GradientComputer, weights: StateDict, inputs: Tensor) -> BatchGradients:
    return computer.compute(weights, inputs, torch.arange(len(inputs)) % N_CLASSES)


def rows_of(gradients: BatchGradients) -> Tensor:
    """Whole gradients `[n, n_parameters]` in the order of layers."""
    return torch.cat([form(each).T for each in gradients.layers], dim=1)


def loss_gradients(
    model: nn.Module, weights: StateDict, computer: GradientComputer, inputs: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy gradients for every class `[n, n_classes, n_parameters]` by a loop, and probabilities."""
    leaves = {name: value.clone().requires_grad_(value.is_floating_point()) for name, value in weights.items()}
    rows, probabilities = [], []
    for one in inputs:
        logits = functional_call(model, leaves, (one[None],))[0]
        probabilities.append(logits.detach().softmax(0))
        for label in range(N_CLASSES):
            loss = functional.cross_entropy(logits, torch.tensor(label))
            names = [name for layer in computer.layers for name in layer.parameters]
            found = torch.autograd.grad(
                loss, [leaves[name] for name in names], retain_graph=True, allow_unused=True, materialize_grads=True
            )
            given = dict(zip(names, found, strict=True))
            parts = []
            for layer in computer.layers:
                height = layer.n_rows if layer.kind == "matrix" else 1
                matrices = [given[name].t() if layer.transposed else given[name] for name in layer.parameters]
                matrices = [matrix.reshape(height, -1) for matrix in matrices]
                parts.append(torch.cat(matrices, dim=1).flatten())
            rows.append(torch.cat(parts))
    return torch.stack(rows).reshape(len(inputs), N_CLASSES, -1), torch.stack(probabilities)


def mean_squares(factors: EkfacFactors, gradients: Tensor, probabilities: Tensor) -> list[Tensor]:
    """Mean over examples and classes of the squared rotated gradients, one gradient at a time, layer by layer."""
    totals = [torch.zeros_like(each.eigenvalues) for each in factors.layers]
    for of_classes, p in zip(gradients, probabilities, strict=True):
        for gradient, share in zip(of_classes, p, strict=True):
            for each, total in zip(factors.layers, totals, strict=True):
                start = each.layer.start
                matrix = gradient[start : start + each.layer.size].reshape(total.shape)
                if each.rows is not None:
                    matrix = each.rows.T @ matrix @ each.columns
                total += share * matrix**2
    return [total / len(gradients) for total in totals]


def dense(factors: EkfacFactors) -> Tensor:
    """The curvature as one matrix `[n_parameters, n_parameters]`."""
    blocks = []
    for each in factors.layers:
        basis = torch.eye(each.layer.size, dtype=torch.float64)
        if each.rows is not None:
            basis = torch.kron(each.rows, each.columns)
        blocks.append(basis @ torch.diag(each.eigenvalues.flatten()) @ basis.T)
    return torch.block_diag(*blocks)


def fitted(name: str, draws: int | None = None, seed: int = 0, **settings: object) -> tuple[EkfacFactors, Tensor]:
    """The factors of a model, and rows of gradients to try them on."""
    model, weights, inputs = made(name)
    computer = computer_of(model, inputs)
    factors = fit_ekfac(computer, [weights], inputs, seed, draws, **settings)
    return factors, rows_of(gradients_of(computer, weights, inputs))


@ALL_MODELS
@pytest.mark.parametrize("way", ["hooks", "functional"])
def test_eigenvalues_are_mean_squares_of_loss_gradients_in_the_eigenbasis(name: str, way: str):
    model, weights, inputs = made(name)
    computer = computer_of(model, inputs, way)
    factors = fit_ekfac(computer, [weights], inputs, 0, draws=None)
    for each in factors.layers:
        assert (each.rows is not None) == (each.layer.kind == "matrix")
        for basis in (each.rows, each.columns):
            if basis is not None:
                identity = torch.eye(len(basis), dtype=torch.float64)
                torch.testing.assert_close(basis.T @ basis, identity, **TOLERANCE)
    expected = mean_squares(factors, *loss_gradients(model, weights, computer, inputs))
    for each, eigenvalues in zip(factors.layers, expected, strict=True):
        torch.testing.assert_close(each.eigenvalues, eigenvalues, **TOLERANCE)
        assert each.mean_eigenvalue == pytest.approx(float(eigenvalues.mean()))


@pytest.mark.parametrize("name", ["mlp", "conv", "groups", "sequences"])
def test_the_eigenbasis_diagonalises_both_covariances(name: str):
    model, weights, inputs = made(name)
    factors = fit_ekfac(computer_of(model, inputs), [weights], inputs, 0, draws=None)
    seen: dict[str, list[Tensor]] = {}

    def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        patches = args[0]
        if isinstance(module, nn.Conv2d):
            patches = functional.unfold(args[0], module.kernel_size, padding=module.padding, stride=module.stride)
            # Each group sees channels of its own, and one A serves them all.
            patches = patches.unflatten(1, (module.groups, -1)).transpose(2, 3)
        seen[names[module]] = [patches.flatten(0, -2).detach(), output]

    names = {module: key for key, module in model.named_modules()}
    layers = {each.layer.name: each for each in factors.layers}
    for key in layers:
        model.get_submodule(key).register_forward_hook(record)
    covariances = {key: torch.zeros_like(each.rows) for key, each in layers.items()}
    for label in range(N_CLASSES):
        logits = model(inputs)
        weight = logits.detach().softmax(1)[:, label].sqrt()
        loss = functional.cross_entropy(logits, torch.full((N,), label), reduction="none")
        (weight * loss).sum().backward()
        for key, (_, output) in seen.items():
            deltas = output.grad.flatten(2).transpose(1, 2) if output.dim() == 4 else output.grad
            deltas = deltas.flatten(0, -2)
            covariances[key] += deltas.T @ deltas
    for key, each in layers.items():
        activations = seen[key][0]
        if each.layer.has_bias:
            activations = torch.cat([activations, torch.ones(len(activations), 1)], dim=1)
        for basis, matrix in ((each.rows, covariances[key]), (each.columns, activations.T @ activations)):
            turned = basis.T @ matrix @ basis
            torch.testing.assert_close(turned, torch.diag(turned.diagonal()), rtol=0, atol=1e-10 * float(turned.max()))


@ALL_MODELS
def test_any_function_is_that_of_the_dense_matrix(name: str):
    factors, rows = fitted(name)
    matrix, damping = dense(factors), 1e-3
    identity = torch.eye(len(matrix), dtype=torch.float64)
    torch.testing.assert_close(ekfac_applied(factors, rows, torch.ones_like), rows, **TOLERANCE)
    torch.testing.assert_close(ekfac_applied(factors, rows, lambda s: s), rows @ matrix, **TOLERANCE)
    inverse = torch.linalg.solve(matrix + damping * identity, rows.T).T
    torch.testing.assert_close(ekfac_applied(factors, rows, damped_inverse(damping)), inverse, **TOLERANCE)
    decayed = rows @ torch.matrix_exp(-50 * matrix)
    torch.testing.assert_close(ekfac_applied(factors, rows, lambda s: torch.exp(-50 * s)), decayed, **TOLERANCE)
    assert factors.width == rows.shape[1]
    turned = factors.rotate_rows(rows)
    torch.testing.assert_close(factors.rotate_back(turned), rows, **TOLERANCE)


@ALL_MODELS
def test_scores_are_bilinear_forms_of_the_dense_inverse(name: str):
    model, weights, inputs = made(name)
    computer = computer_of(model, inputs)
    factors = fit_ekfac(computer, [weights], inputs, 0)
    train, queries = gradients_of(computer, weights, inputs), gradients_of(computer, weights, inputs[:5].flip(0))
    damping = 1e-2
    inverse = torch.linalg.inv(dense(factors) + damping * torch.eye(factors.width, dtype=torch.float64))
    left, right = rows_of(queries), rows_of(train)
    turned = factors.rotate(queries.layers)
    torch.testing.assert_close(turned, factors.rotate_rows(left), **TOLERANCE)
    scores = factors.score(factors.filter(turned, damped_inverse(damping)), train.layers, train.q)
    torch.testing.assert_close(scores, left @ inverse @ (right * train.q[:, None]).T, **TOLERANCE)


def test_where_the_curvature_is_a_kronecker_product_it_is_the_hessian_of_the_loss():
    # A linear model that sees one input: dW = delta a^T with the same a for all, and the loss is convex.
    torch.manual_seed(1)
    linear = nn.Linear(4, N_CLASSES).double()
    inputs = torch.randn(1, 4, dtype=torch.float64).expand(N, 4)
    weights = {name: value.detach() for name, value in linear.state_dict().items()}

    def loss(matrix: Tensor) -> Tensor:
        return functional.cross_entropy(inputs[:1] @ matrix[:, :-1].T + matrix[:, -1], torch.tensor([1]))

    at = torch.cat([weights["weight"], weights["bias"][:, None]], dim=1)
    expected = hessian(loss, at).reshape(15, 15)
    factors = fit_ekfac(computer_of(linear, inputs), [weights], inputs, 0, draws=None)
    torch.testing.assert_close(dense(factors), expected, **TOLERANCE)


def test_a_positive_score_means_that_the_example_raises_the_margin():
    model, weights, inputs = made("mlp")
    computer = computer_of(model, inputs)
    labels = torch.arange(N) % N_CLASSES
    factors = fit_ekfac(computer, [weights], inputs, 0, draws=None)
    given = computer.compute(weights, inputs, labels)
    inverse = damped_inverse(0.1)
    scores = factors.score(factors.filter(factors.rotate(given.layers), inverse), given.layers, given.q)
    # One small step down the loss of example i, preconditioned, changes the margin of each query by score times step.
    i, step = 4, 1e-6
    direction = ekfac_applied(factors, rows_of(given)[i : i + 1], inverse)[0] * given.q[i]
    moved = dict(weights)
    for each in computer.layers:
        block = direction[each.start : each.start + each.size].reshape(each.n_rows, each.n_columns)
        moved[each.parameters[0]] = weights[each.parameters[0]] + step * block[:, : block.shape[1] - each.has_bias]
        if each.has_bias:
            moved[each.parameters[1]] = weights[each.parameters[1]] + step * block[:, -1]
    change = (computer.compute(moved, inputs, labels).model_output - given.model_output) / step
    torch.testing.assert_close(scores[:, i], change, rtol=1e-4, atol=1e-5)
    assert scores[i, i] > 0


def test_for_regression_the_curvature_is_that_of_the_squared_loss():
    torch.manual_seed(0)
    model = nn.Linear(3, 1, bias=False).double()
    inputs = torch.randn(N, 3, dtype=torch.float64)
    factors = fit_ekfac(computer_of(model, inputs, task=Regression()), [dict(model.state_dict())], inputs, 0)
    torch.testing.assert_close(dense(factors), inputs.T @ inputs / N, **TOLERANCE)


@pytest.mark.parametrize("draws", [2, None])
@pytest.mark.parametrize("name", ["mlp", "conv", "norms"])
def test_the_size_of_batches_changes_nothing(name: str, draws: int | None):
    whole, rows = fitted(name, draws)
    for batch_size in (1, 5):
        parts, _ = fitted(name, draws, batch_size=batch_size)
        expected = ekfac_applied(whole, rows, damped_inverse(1e-3))
        torch.testing.assert_close(ekfac_applied(parts, rows, damped_inverse(1e-3)), expected, rtol=1e-7, atol=1e-8)


def test_a_seed_gives_the_same_factors_and_another_one_others():
    first, second, other = (fitted("conv", 1, seed)[0] for seed in (3, 3, 4))
    for one, same, different in zip(first.layers, second.layers, other.layers, strict=True):
        assert torch.equal(one.eigenvalues, same.eigenvalues)
        assert torch.equal(one.rows, same.rows) and torch.equal(one.columns, same.columns)
        assert not torch.equal(one.eigenvalues, different.eigenvalues)


def test_many_draws_come_to_the_expectation_over_all_classes():
    exact, rows = fitted("mlp")
    drawn, _ = fitted("mlp", draws=400)
    for one, other in zip(exact.layers, drawn.layers, strict=True):
        assert torch.linalg.norm(one.eigenvalues - other.eigenvalues) < 0.01 * torch.linalg.norm(one.eigenvalues)
    expected = ekfac_applied(exact, rows, damped_inverse(0.01))
    error = torch.linalg.norm(ekfac_applied(drawn, rows, damped_inverse(0.01)) - expected)
    assert error < 0.01 * torch.linalg.norm(expected)


def test_one_draw_is_enough_where_the_model_is_sure_of_its_labels():
    torch.manual_seed(0)
    model = nn.Linear(6, N_CLASSES).double()
    inputs = 40 * torch.randn(300, 6, dtype=torch.float64)
    assert model(inputs).detach().softmax(1).max(1).values.median() > 1 - 1e-3
    computer, weights = computer_of(model, inputs), [dict(model.state_dict())]
    exact = fit_ekfac(computer, weights, inputs, 0, draws=None).layers[0].mean_eigenvalue
    for seed in range(5):
        assert fit_ekfac(computer, weights, inputs, seed).layers[0].mean_eigenvalue == pytest.approx(exact, rel=0.3)


def test_checkpoints_are_averaged_in_one_basis():
    model, first, inputs = made("conv")
    second = {name: value + 0.3 * torch.randn_like(value) for name, value in first.items()}
    computer = computer_of(model, inputs)
    both = fit_ekfac(computer, [first, second], inputs, 0, draws=None)
    parts = [mean_squares(both, *loss_gradients(model, weights, computer, inputs)) for weights in (first, second)]
    for each, one, other in zip(both.layers, *parts, strict=True):
        torch.testing.assert_close(each.eigenvalues, (one + other) / 2, **TOLERANCE)
    # The basis is that of the sum: with the same checkpoint twice, that of the checkpoint.
    rows = rows_of(gradients_of(computer, first, inputs))
    alone, twice = (fit_ekfac(computer, weights, inputs, 0, draws=None) for weights in ([first], [first, first]))
    expected = ekfac_applied(alone, rows, damped_inverse(0.1))
    torch.testing.assert_close(ekfac_applied(twice, rows, damped_inverse(0.1)), expected, rtol=1e-7, atol=1e-8)


def test_a_layer_without_a_part_in_the_output_has_no_curvature_and_no_influence():
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(6, N_CLASSES), nn.Linear(6, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            self.unused(inputs)
            return self.used(inputs)

    model = Unused().double()
    inputs = torch.randn(N, 6, dtype=torch.float64)
    computer = computer_of(model, inputs)
    factors = fit_ekfac(computer, [dict(model.state_dict())], inputs, 0)
    assert not factors.layers[1].eigenvalues.any()
    rows = rows_of(gradients_of(computer, dict(model.state_dict()), inputs))
    for damping in (0.0, 1e-3):
        applied = ekfac_applied(factors, rows, damped_inverse(damping))
        assert applied.isfinite().all()
        assert not applied[:, factors.layers[0].layer.size :].any()


def test_damping_is_added_to_the_eigenvalues_and_none_is_a_pseudo_inverse():
    eigenvalues = torch.tensor([[0.0, 1.0], [3.0, 4.0]])
    torch.testing.assert_close(damped_inverse(0.5)(eigenvalues), 1 / (eigenvalues + 0.5))
    torch.testing.assert_close(damped_inverse(0)(eigenvalues), torch.tensor([[0, 1], [1 / 3, 1 / 4]]))
    for wrong in (-1e-9, math.inf, math.nan):
        with pytest.raises(InvalidSettingError, match="damping"):
            damped_inverse(wrong)


def test_what_cannot_be_fitted_is_refused():
    model, weights, inputs = made("mlp")
    computer = computer_of(model, inputs)
    for settings in ({"draws": 0}, {"batch_size": 0}):
        with pytest.raises(InvalidSettingError, match=next(iter(settings))):
            fit_ekfac(computer, [weights], inputs, 0, **settings)
    with pytest.raises(InvalidSettingError, match="checkpoints"):
        fit_ekfac(computer, [], inputs, 0)
    with pytest.raises(InvalidSettingError, match="list"):
        fit_ekfac(computer, weights, inputs, 0)
    with pytest.raises(EmptyDataError):
        fit_ekfac(computer, [weights], inputs[:0], 0)
    task = CustomTask(lambda outputs, target: outputs[:, 0], lambda outputs, target: outputs[:, 0])
    labels = torch.arange(len(inputs)) % N_CLASSES
    with pytest.raises(NeedNotMetError, match="task 'custom' has no loss"):
        fit_ekfac(computer_of(model, inputs, task=task), [weights], inputs, 0, targets=labels)
    with pytest.raises(NeedNotMetError, match="depends on its targets; give targets="):
        fit_ekfac(computer_of(model, inputs, task=task), [weights], inputs, 0)
    broken = inputs.clone()
    broken[3] = torch.nan
    with pytest.raises(NonFiniteGradientError, match="checkpoint 0"):
        fit_ekfac(computer, [weights], broken, 0)


@pytest.mark.slow
@pytest.mark.skipif(not is_available(), reason="the reference run of shared/ is missing")
@pytest.mark.skipif(not is_installed(), reason=f"kronfluence is not installed ({INSTALL})")
def test_scores_agree_with_kronfluence_on_digits():
    run = load_digits_cnn()
    train, test = (run.train_inputs, run.train_labels), (run.test_inputs, run.test_labels)
    dampings = (None, 1e-5)
    # Every class with its probability: one label drawn for each image, as kronfluence does it, is mostly noise here.
    ours, theirs = (
        function(make_model(), run.checkpoints[0], train, test, dampings, "every", 0)
        for function in (run_ours, run_kronfluence)
    )
    for damping in dampings:
        one, other = ours.scores[damping], theirs.scores[damping]
        found = spearman_by_test(one, other)
        distance = np.linalg.norm(one - other) / np.linalg.norm(other)
        print(f"damping {damping}: Spearman mean {found.mean():.4f}, least {found.min():.4f}; distance {distance:.1e}")
        assert found.mean() >= 0.99
        assert distance < 1e-2
    drawn = run_ours(make_model(), run.checkpoints[0], train, test, (None,), "drawn", 0).scores[None]
    found = spearman_by_test(drawn, theirs.scores[None])
    print(f"one label drawn: Spearman mean {found.mean():.4f}, least {found.min():.4f}")
    assert found.mean() >= 0.9
