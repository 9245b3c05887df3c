"""Influence in all its forms against dense matrices by automatic differentiation, and against fitting again."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacrev, vmap

from tests.oracles import ekfac_applied
from trak_core.curvature import EkfacFactors, conjugate_gradients, fisher_matrix, fit_ekfac, gauss_newton_products
from trak_core.curvature.gauss_newton import VECTORS, solve_damped
from trak_core.errors import SingularKernelError
from trak_core.gradients import Layer
from trak_core.methods import Examples, Material, Scores, Tuning, find_method, influence, logra
from trak_core.methods.source import response, segments, source_scores, survival
from trak_core.tasks import Classification
from trak_core.training import Moment, Schedule, TrainingLog, TrainingSettings

# torch's own, when it takes its first forward derivative.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
TASK = Classification()
N_TRAIN, N_TEST, N_CLASSES = 18, 4, 3
DAMPING = 0.02
# float64: what differs is the order of sums, times the condition of the matrix.
CLOSE = {"rtol": 1e-7, "atol": 1e-10}
EVERYTHING = slice(None)


class Tied(nn.Module):
    """Two layers that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, N_CLASSES)
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(inputs)))))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(5, N_CLASSES),
    "mlp": lambda: nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, N_CLASSES)),
    "norms": lambda: nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, N_CLASSES, bias=False)
    ),
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 2, 2), nn.GELU(), nn.Flatten(), nn.Linear(8, N_CLASSES)
    ),
    "tied": Tied,
}
ALL_MODELS = pytest.mark.parametrize("name", MODELS)


def material_of(name: str, n_checkpoints: int = 1, weight_decay: float = DAMPING) -> Material:
    """A model with random weights and examples, in float64."""
    torch.manual_seed(7)
    model = MODELS[name]().double().eval()
    states = [
        {
            key: value + 0.3 * torch.randn_like(value) if value.is_floating_point() and "var" not in key else value
            for key, value in model.state_dict().items()
        }
        for _ in range(n_checkpoints)
    ]
    for state in states:  # a state dict has a shared tensor under both its names
        state.update({"second.weight": state["first.weight"]} if name == "tied" else {})
    train, test = torch.randn(N_TRAIN, 5, dtype=torch.float64), torch.randn(N_TEST, 5, dtype=torch.float64)
    return Material(
        TASK,
        model,
        states,
        Examples(train, torch.arange(N_TRAIN) % N_CLASSES),
        Examples(test, torch.arange(N_TEST) % N_CLASSES),
        weight_decay=weight_decay,
    )


@dataclass
class Dense:
    """Everything about one checkpoint by `jacrev`, all columns in the order of the rows of gradients.

    Attributes:
        train: gradients of the margins of the train examples `[n_train, p]`.
        test: those of the test examples `[n_test, p]`.
        matrix: the Gauss-Newton matrix `[p, p]`.
        q: 1 - p of the labels `[n_train]`.
    """

    train: Tensor
    test: Tensor
    matrix: Tensor
    q: Tensor

    @classmethod
    def of(cls, material: Material, checkpoint: int = 0) -> "Dense":
        names = [name for name, _ in material.architecture.named_parameters()]
        state = material.states[checkpoint]
        order = columns(material)

        def outputs(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
            fixed = {name: state[name] for name, _ in material.architecture.named_buffers()}
            return functional_call(material.architecture, {**fixed, **parameters}, (inputs,))

        # Derivatives of logits [n, n_classes, p], one block a parameter.
        def jacobian(inputs: Tensor) -> Tensor:
            found = jacrev(outputs)({name: state[name] for name in names}, inputs)
            return torch.cat([found[name].flatten(2) for name in names], dim=2)[:, :, order]

        def margin_gradients(examples: Examples) -> Tensor:
            p = outputs({name: state[name] for name in names}, examples.inputs).softmax(1)
            asked = torch.nn.functional.one_hot(examples.asked, N_CLASSES).to(p)
            # f = z_y - log sum over the others of exp(z), so df/dz = 1 at y and -p / (1 - p_y) elsewhere.
            slope = asked - (1 - asked) * p / (1 - (p * asked).sum(1, keepdim=True))
            return torch.einsum("nc,ncp->np", slope, jacobian(examples.inputs))

        p = outputs({name: state[name] for name in names}, material.train.inputs).softmax(1)
        of_logits = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        moved = jacobian(material.train.inputs)
        matrix = torch.einsum("nip,nij,njq->pq", moved, of_logits, moved) / len(material.train)
        q = 1 - p.gather(1, material.train.asked[:, None])[:, 0]
        return cls(margin_gradients(material.train), margin_gradients(material.test), matrix, q)

    def influence(self, damping: float) -> Tensor:
        damped = self.matrix + damping * torch.eye(len(self.matrix)).to(self.matrix)
        return self.test @ torch.linalg.solve(damped, (self.train * self.q[:, None]).T) / len(self.q)


def columns(material: Material) -> Tensor:
    """Places among all parameters, one tensor after another, in the order that rows of gradients have."""
    at, places = 0, {}
    for name, value in material.architecture.named_parameters():
        places[name] = torch.arange(at, at + value.numel()).reshape(value.shape)
        at += value.numel()

    def of_layer(layer: Layer) -> Tensor:
        height = layer.n_rows if layer.kind == "matrix" else 1
        return torch.cat([places[name].reshape(height, -1) for name in layer.parameters], dim=1).flatten()

    return torch.cat([of_layer(layer) for layer in material.gradients.layers])


def scores_of(method: str, material: Material) -> Tensor:
    return find_method(method).fit(material).block(EVERYTHING)


# --- the whole matrix ----------------------------------------------------------------------------------------


@ALL_MODELS
def test_exact_influence_is_a_dense_solve_with_the_jacobian(name: str):
    material = material_of(name, n_checkpoints=2)
    scores = find_method("influence_exact").fit(material)
    expected = [Dense.of(material, checkpoint).influence(DAMPING) for checkpoint in range(2)]
    torch.testing.assert_close(scores.block(EVERYTHING), (expected[0] + expected[1]) / 2, **CLOSE)
    torch.testing.assert_close(scores.first(1).block(EVERYTHING), expected[0], **CLOSE)
    assert scores.settings == {"damping": DAMPING}


@ALL_MODELS
def test_the_fisher_matrix_is_the_gauss_newton_matrix(name: str):
    material = material_of(name)
    rows = influence._fisher_rows(material, material.states[0])
    found = fisher_matrix(rows, material.n_parameters, N_TRAIN, like=material.train.inputs)
    torch.testing.assert_close(found, Dense.of(material).matrix, **CLOSE)


def test_damping_is_the_weight_decay_or_else_a_little():
    material = material_of("mlp", weight_decay=0.0)
    scores = scores_of("influence_exact", material)
    torch.testing.assert_close(scores, Dense.of(material).influence(1e-3), rtol=1e-6, atol=1e-9)


def test_a_matrix_that_is_not_positive_definite_is_refused():
    with pytest.raises(SingularKernelError, match=r"3 parameters with damping=0\.5 .*larger damping"):
        solve_damped(-torch.eye(3), torch.ones(1, 3), 0.5)


# --- products and conjugate gradients ------------------------------------------------------------------------


@ALL_MODELS
def test_products_with_the_gauss_newton_matrix_are_those_of_the_dense_one(name: str):
    material = material_of(name)
    as_states, as_rows = influence._between(material, material.states[0])
    torch.manual_seed(1)
    vectors = torch.randn(VECTORS + 3, material.n_parameters, dtype=torch.float64)
    states = as_states(vectors)
    assert torch.equal(as_rows(states), vectors)
    assert {key: value.shape[1:] for key, value in states.items()} == {
        key: value.shape for key, value in material.architecture.named_parameters()
    }
    products = gauss_newton_products(
        material.architecture, material.states[0], material.train.inputs, lambda z: z.logsumexp(-1), states, 5
    )
    torch.testing.assert_close(as_rows(products), vectors @ Dense.of(material).matrix, **CLOSE)


def positive_definite(n: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return root @ root.T + torch.eye(n), torch.randn(4, n, generator=generator, dtype=torch.float64)


def test_conjugate_gradients_solve_what_a_dense_solver_solves():
    matrix, vectors = positive_definite()
    vectors[2] = 0
    solution, residuals = conjugate_gradients(lambda rows: rows @ matrix, vectors, 1e-11, 100)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, vectors.T).T, rtol=1e-8, atol=1e-10)
    assert not solution[2].any() and residuals[2] == 0
    assert (residuals <= 1e-11).all()


@pytest.mark.parametrize("iterations", [0, 1, 5])
def test_the_residuals_are_those_of_the_solution(iterations: int):
    matrix, vectors = positive_definite()
    solution, residuals = conjugate_gradients(lambda rows: rows @ matrix, vectors, 1e-11, iterations)
    left = torch.linalg.norm(vectors - solution @ matrix, dim=1) / torch.linalg.norm(vectors, dim=1)
    torch.testing.assert_close(residuals, left)
    assert (residuals > 1e-3).all()


def test_a_row_that_is_solved_early_stays_as_it_is_and_only_needed_products_are_taken():
    matrix, vectors = positive_definite()
    vectors[0] = torch.linalg.eigh(matrix)[1][:, -1]  # one step is enough for an eigenvector
    taken: list[int] = []

    def product(rows: Tensor) -> Tensor:
        taken.append(len(rows))
        return rows @ matrix

    together, _ = conjugate_gradients(product, vectors, 1e-11, 100)
    alone, _ = conjugate_gradients(product, vectors[1:2], 1e-11, 100)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(together[0] @ matrix, vectors[0], rtol=1e-8, atol=1e-10)
    taken.clear()
    conjugate_gradients(product, vectors[:1], 1e-6, 100)
    assert taken == [1]


@ALL_MODELS
def test_conjugate_gradients_give_exact_influence_to_their_residual(name: str):
    material = material_of(name)
    exact, scores = scores_of("influence_exact", material), find_method("influence_cg").fit(material)
    assert 0 < scores.settings["residual"] <= influence.TOLERANCE
    # The residual is divided by eigenvalues from the damping on.
    assert (scores.block(EVERYTHING) - exact).abs().max() < 0.02 * exact.abs().max()
    solved, residuals = influence.solve_by_steps(material, material.states[0], material.test, DAMPING, 1e-10)
    dense = Dense.of(material)
    assert (residuals <= 1e-10).all()
    torch.testing.assert_close(solved @ (dense.train * dense.q[:, None]).T / N_TRAIN, exact, rtol=1e-6, atol=1e-8)


def test_tokens_can_be_asked_about():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, N_CLASSES))
    train, test = torch.randint(7, (N_TRAIN, 2)), torch.randint(7, (N_TEST, 2))
    labels = torch.arange(N_TRAIN) % N_CLASSES
    examples = Examples(train, labels), Examples(test, labels[:N_TEST])
    material = Material(TASK, model, [model.state_dict()], *examples, weight_decay=DAMPING)
    exact, stepwise = (scores_of(method, material) for method in ("influence_exact", "influence_cg"))
    torch.testing.assert_close(exact, Dense.of(material).influence(DAMPING), rtol=1e-3, atol=1e-5)
    assert (stepwise - exact).abs().max() < 0.02 * exact.abs().max()


# --- a convex problem, fitted again --------------------------------------------------------------------------


def optimum(material: Material, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax regression with weights of examples `[m, n_train]` by Newton's method: weights and biases `[m, ...]`."""
    inputs = torch.cat([material.train.inputs, torch.ones(len(material.train), 1, dtype=torch.float64)], dim=1)

    def loss(flat: Tensor, weight: Tensor) -> Tensor:
        losses = TASK.loss(inputs @ flat.reshape(N_CLASSES, -1).T, material.train.asked)
        return (losses * weight).mean() + material.weight_decay / 2 * (flat**2).sum()

    at = torch.zeros(len(weights), N_CLASSES * inputs.shape[1], dtype=torch.float64)
    for _ in range(9):
        slopes, curvatures = vmap(grad(loss))(at, weights), vmap(hessian(loss))(at, weights)
        at = at - torch.linalg.solve(curvatures, slopes)
    assert vmap(grad(loss))(at, weights).abs().max() < 1e-12
    matrices = at.reshape(len(weights), N_CLASSES, -1)
    return matrices[:, :, :-1], matrices[:, :, -1]


def margins(material: Material, weights: Tensor) -> Tensor:
    """Margins `[n_test, m]` of models fitted with weights of examples `[m, n_train]`."""
    matrices, biases = optimum(material, weights)
    logits = torch.einsum("nd,mcd->mnc", material.test.inputs, matrices) + biases[:, None]
    return TASK.model_output(logits, material.test.asked.expand(len(weights), -1)).T


def fitted() -> tuple[Material, Tensor]:
    """A problem with a minimum of its own, the model at it, and a row of ones for each of 60 train examples."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(60, N_CLASSES, generator=generator, dtype=torch.float64)
    train = Examples(inputs, (inputs[:, :N_CLASSES] + noise).argmax(1))
    material = replace(material_of("linear", weight_decay=0.05), train=train)
    ones = torch.ones(60, 60, dtype=torch.float64)
    matrices, biases = optimum(material, ones[:1])
    return replace(material, states=[{"weight": matrices[0], "bias": biases[0]}]), ones


def test_for_a_convex_problem_exact_influence_is_the_derivative_in_the_weight_of_an_example():
    material, ones = fitted()
    change = 1e-5 * torch.eye(len(ones), dtype=torch.float64)
    slopes = (margins(material, ones + change) - margins(material, ones - change)) / 2e-5
    torch.testing.assert_close(scores_of("influence_exact", material), slopes, rtol=1e-6, atol=1e-8)


def test_for_a_convex_problem_exact_influence_foretells_fitting_without_an_example():
    material, ones = fitted()
    change = margins(material, ones[:1]) - margins(material, ones - torch.eye(len(ones)))
    scores = scores_of("influence_exact", material)
    slope = (scores * change).sum() / (scores * scores).sum()
    assert torch.corrcoef(torch.stack([scores.flatten(), change.flatten()]))[0, 1] > 0.99
    assert 0.95 < slope < 1.15


# --- EK-FAC --------------------------------------------------------------------------------------------------


def test_where_the_curvature_is_a_kronecker_product_ekfac_influence_is_exact():
    material = material_of("linear")
    same = Examples(material.train.inputs[:1].expand(N_TRAIN, -1), material.train.asked)
    material = replace(material, train=same)
    torch.testing.assert_close(scores_of("influence_ekfac", material), scores_of("influence_exact", material), **CLOSE)


@pytest.mark.parametrize("name", ["mlp", "norms", "conv"])
def test_ekfac_influence_is_a_dense_solve_with_its_own_matrix(name: str):
    material = material_of(name, n_checkpoints=2)
    expected = []
    for checkpoint, state in enumerate(material.states):
        factors = fit_ekfac(material.gradients.computer, [state], material.train.inputs, 0, draws=None)
        expected.append(replace(Dense.of(material, checkpoint), matrix=matrix_of(factors)).influence(DAMPING))
    torch.testing.assert_close(scores_of("influence_ekfac", material), sum(expected) / 2, **CLOSE)


def matrix_of(factors: EkfacFactors) -> Tensor:
    return ekfac_applied(factors, torch.eye(factors.width, dtype=torch.float64), lambda eigenvalues: eigenvalues)


@pytest.mark.parametrize("method", ["influence_ekfac", "influence_exact"])
def test_with_a_huge_damping_influence_is_the_inner_product_of_gradients(method: str):
    material = material_of("mlp", weight_decay=1e9)
    scores = scores_of(method, material) * 1e9 * N_TRAIN
    torch.testing.assert_close(scores, scores_of("grad_dot", material), rtol=1e-6, atol=1e-8)


def test_without_weight_decay_ekfac_damps_with_a_tenth_of_the_mean_eigenvalue():
    material = material_of("mlp", weight_decay=0.0)
    factors = fit_ekfac(material.gradients.computer, material.states, material.train.inputs, 0, draws=None)
    mean = float(matrix_of(factors).diagonal().mean())
    settings = find_method("influence_ekfac").fit(material).settings
    assert settings["damping"] == pytest.approx(0.1 * mean)


def tuned_to(method: str, candidates: list[Material], plain: Material) -> list[Scores]:
    """Scores of a method with tuning that wants the outcomes foretold by each of the candidates."""
    masks = torch.rand(9, N_TRAIN, generator=torch.Generator().manual_seed(0)) < 0.5
    found = []
    for candidate in candidates:
        wanted = find_method(method).fit(candidate).predict(masks)
        tuning = Tuning(masks, lambda foretold, wanted=wanted: -float((foretold - wanted).abs().sum()))
        found.append(find_method(method).fit(replace(plain, tuning=tuning)))
    return found


def test_the_damping_of_ekfac_is_the_one_that_foretells_best():
    material = material_of("mlp", n_checkpoints=2)
    dampings = [DAMPING * share for share in influence.EKFAC_DAMPINGS]
    candidates = [replace(material, weight_decay=damping) for damping in dampings]
    for scores, damping, candidate in zip(
        tuned_to("influence_ekfac", candidates, material), dampings, candidates, strict=True
    ):
        assert scores.settings["damping"] == pytest.approx(damping)
        torch.testing.assert_close(scores.block(EVERYTHING), scores_of("influence_ekfac", candidate))


# --- LoGra ---------------------------------------------------------------------------------------------------


def block_influence(dense: Dense, sizes: list[int], share: float) -> Tensor:
    """Influence with the empirical Fisher matrix, one block after another."""
    total = torch.zeros(N_TEST, N_TRAIN, dtype=torch.float64)
    for train, test in zip(torch.split(dense.train, sizes, 1), torch.split(dense.test, sizes, 1), strict=True):
        loss = train * dense.q[:, None]
        block = sum(torch.outer(row, row) for row in loss) / N_TRAIN
        damped = block + share * block.diagonal().mean() * torch.eye(len(block), dtype=torch.float64)
        total += test @ torch.linalg.solve(damped, loss.T) / N_TRAIN
    return total


@pytest.mark.parametrize("share", [0.01, 0.1, 10.0])
def test_logra_with_room_for_whole_gradients_is_influence_with_the_empirical_fisher_matrix(
    share: float, monkeypatch: pytest.MonkeyPatch
):
    material = material_of("mlp", n_checkpoints=2)
    monkeypatch.setattr(logra, "DEFAULT_DAMPING", share)
    sizes = [layer.size for layer in material.gradients.layers]
    expected = sum(block_influence(Dense.of(material, checkpoint), sizes, share) for checkpoint in range(2)) / 2
    scores = find_method("logra").fit(material)
    assert scores.settings == {"damping": share}
    torch.testing.assert_close(scores.block(EVERYTHING), expected, **CLOSE)


def test_with_a_huge_damping_logra_orders_as_the_inner_product_of_gradients(monkeypatch: pytest.MonkeyPatch):
    material, share = material_of("linear"), 1e9
    monkeypatch.setattr(logra, "DEFAULT_DAMPING", share)
    scores, dots = scores_of("logra", material), scores_of("grad_dot", material)
    assert torch.equal(scores.argsort(1), dots.argsort(1))
    dense = Dense.of(material)
    mean = float(((dense.train * dense.q[:, None]) ** 2).mean())
    torch.testing.assert_close(scores * share * mean * N_TRAIN, dots, rtol=1e-6, atol=1e-8)


def test_each_checkpoint_of_logra_has_a_projection_of_its_own(monkeypatch: pytest.MonkeyPatch):
    material = material_of("mlp")
    twice = replace(material, states=[*material.states, *material.states])
    whole = find_method("logra").fit(twice)
    assert not whole.standard_error(EVERYTHING).any()
    monkeypatch.setattr(logra, "PROJ_DIM", 24)
    projected = find_method("logra").fit(twice)
    assert projected.standard_error(EVERYTHING).any()
    monkeypatch.setattr(logra, "PROJ_DIM", 56)  # all but the last row and column of one layer
    nearly = scores_of("logra", twice)
    assert torch.corrcoef(torch.stack([nearly.flatten(), whole.block(EVERYTHING).flatten()]))[0, 1] > 0.9


def test_a_layer_without_gradients_plays_no_part_in_logra():
    material = material_of("mlp")
    weights = dict(material.states[0])
    weights["2.weight"] = torch.zeros_like(weights["2.weight"])  # nothing reaches the first layer
    scores = scores_of("logra", replace(material, states=[weights]))
    dense = Dense.of(replace(material, states=[weights]))
    first, last = (layer.size for layer in material.gradients.layers)
    assert not dense.train[:, :first].any()
    only = replace(dense, train=dense.train[:, first:], test=dense.test[:, first:])
    torch.testing.assert_close(scores, block_influence(only, [last], logra.DEFAULT_DAMPING), **CLOSE)


# --- SOURCE --------------------------------------------------------------------------------------------------


def log_of(material: Material, learning_rate: float = 0.1, weight_decay: float = DAMPING) -> TrainingLog:
    """A log with the states of the material, at equal distances; SOURCE takes them as they are."""
    n_parts = len(material.states) - 1
    settings = TrainingSettings(n_parts, 3, learning_rate, 0.9, weight_decay)
    schedule = Schedule(settings, N_TRAIN)
    moments = [Moment(part * schedule.steps_an_epoch, dict(state), {}) for part, state in enumerate(material.states)]
    return TrainingLog(0, schedule, moments)


def source_by_hand(material: Material, log: TrainingLog, parts: list[list[int]], times: list[float]) -> Tensor:
    """SOURCE with dense matrices: states and time of each segment, the first segment first."""
    decay = log.schedule.settings.weight_decay
    queries = Dense.of(material, len(log.moments) - 1).test
    total = torch.zeros(N_TEST, N_TRAIN, dtype=torch.float64)
    for numbers, time in reversed(list(zip(parts, times, strict=True))):
        states = [log.moments[number].parameters for number in numbers]
        factors = fit_ekfac(material.gradients.computer, states, material.train.inputs, material.seed, draws=None)
        curvature = matrix_of(factors)
        identity = torch.eye(len(curvature), dtype=torch.float64)
        curvature = curvature + decay * identity
        kept = torch.matrix_exp(-time * curvature)
        moved = torch.linalg.solve(curvature, identity - kept)
        for number in numbers:
            dense = Dense.of(material, number)
            total += queries @ moved @ (dense.train * dense.q[:, None]).T / (len(numbers) * N_TRAIN)
        queries = queries @ kept
    return total


@pytest.mark.parametrize("name", ["mlp", "norms"])
def test_source_is_its_formula_with_dense_matrices(name: str):
    material = material_of(name, n_checkpoints=7)
    log = log_of(material)
    parts = segments(log, 3)
    assert [[moment.step for moment in part.moments] for part in parts] == [[6, 12], [18, 24], [30, 36]]
    scores = source_scores(material, log, 3)
    expected = source_by_hand(material, log, [[1, 2], [3, 4], [5, 6]], [part.time for part in parts])
    torch.testing.assert_close(scores, expected, **CLOSE)
    whole = sum(part.time for part in parts)
    expected = source_by_hand(material, log, [[1, 2, 3, 4, 5, 6]], [whole])
    torch.testing.assert_close(source_scores(material, log, 1), expected, **CLOSE)


def test_source_over_logs_is_the_mean_over_them():
    material = material_of("mlp", n_checkpoints=7)
    logs = [log_of(material), log_of(material, learning_rate=0.3)]
    scores = find_method("source").fit(replace(material, logs=logs))
    expected = [source_scores(material, log, 3) for log in logs]
    torch.testing.assert_close(scores.block(EVERYTHING), (expected[0] + expected[1]) / 2)
    torch.testing.assert_close(scores.standard_error(EVERYTHING), (expected[0] - expected[1]).abs() / 2)
    assert torch.equal(scores.first(1).block(EVERYTHING), expected[0])


@pytest.mark.parametrize("n_states", [2, 3, 4, 6, 7, 9])
def test_segments_cover_every_step_once(n_states: int):
    log = log_of(material_of("linear", n_checkpoints=n_states))
    schedule = log.schedule
    parts = segments(log, 3)
    assert len(parts) == min(3, n_states - 1)
    assert [moment.step for part in parts for moment in part.moments] == [each.step for each in log.moments[1:]]
    rates = sum(schedule.learning_rate(step) for step in range(schedule.n_steps))
    assert sum(part.time for part in parts) == pytest.approx(rates / (1 - schedule.settings.momentum))
    assert all(part.time > 0 for part in parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_survives_a_segment_and_what_responds_to_it_belong_together(dtype: torch.dtype):
    time, decay = 7.0, 0.01
    eigenvalues = torch.logspace(-8, 4, 60, dtype=dtype)
    kept, moved = survival(time, decay)(eigenvalues), response(time, decay)(eigenvalues)
    torch.testing.assert_close(1 - kept, (eigenvalues + decay) * moved, rtol=1e-5, atol=1e-6)
    many = eigenvalues[-20:]
    torch.testing.assert_close(response(1e6, decay)(many), 1 / (many + decay))
    for small in (0.0, 1e-20, 1e-12, 1e-9):
        flat = response(time, 0.0)(torch.tensor([small], dtype=dtype))
        torch.testing.assert_close(flat, torch.full_like(flat, time), rtol=1e-6, atol=0)


def test_after_endless_training_one_segment_of_source_is_damped_ekfac_influence():
    material = material_of("mlp", n_checkpoints=2)
    # One recorded state, so that the averaged curvature is that of the checkpoint.
    scores = source_scores(material, log_of(material, learning_rate=1e4), 1)
    last = replace(material, states=material.states[1:])
    torch.testing.assert_close(scores, scores_of("influence_ekfac", last), **CLOSE)


def test_after_hardly_any_training_source_is_the_inner_product_of_gradients():
    material = material_of("mlp", n_checkpoints=2)
    log = log_of(material, learning_rate=1e-9)
    time = segments(log, 1)[0].time
    dots = scores_of("grad_dot", replace(material, states=material.states[1:]))
    torch.testing.assert_close(source_scores(material, log, 1), dots * time / N_TRAIN, rtol=1e-6, atol=0)
