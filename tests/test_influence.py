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
from trak_core.errors import NeedNotMetError, SingularKernelError
from trak_core.gradients import Layer
from trak_core.methods import Examples, MethodContext, Scores, Tuning, find_method, influence, influence_fisher, logra
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


def material_of(name: str, n_checkpoints: int = 1, weight_decay: float = DAMPING) -> MethodContext:
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
    return MethodContext(
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
    def of(cls, context: MethodContext, checkpoint: int = 0) -> "Dense":
        names = [name for name, _ in context.architecture.named_parameters()]
        state = context.states[checkpoint]
        order = columns(context)

        def outputs(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
            fixed = {name: state[name] for name, _ in context.architecture.named_buffers()}
            return functional_call(context.architecture, {**fixed, **parameters}, (inputs,))

        # Derivatives of logits [n, n_classes, p], one block a parameter.
        def jacobian(inputs: Tensor) -> Tensor:
            found = jacrev(outputs)({name: state[name] for name in names}, inputs)
            return torch.cat([found[name].flatten(2) for name in names], dim=2)[:, :, order]

        def margin_gradients(examples: Examples) -> Tensor:
            p = outputs({name: state[name] for name in names}, examples.inputs).softmax(1)
            hot = torch.nn.functional.one_hot(examples.targets, N_CLASSES).to(p)
            # f = z_y - log sum over the others of exp(z), so df/dz = 1 at y and -p / (1 - p_y) elsewhere.
            slope = hot - (1 - hot) * p / (1 - (p * hot).sum(1, keepdim=True))
            return torch.einsum("nc,ncp->np", slope, jacobian(examples.inputs))

        p = outputs({name: state[name] for name in names}, context.train.inputs).softmax(1)
        of_logits = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        moved = jacobian(context.train.inputs)
        matrix = torch.einsum("nip,nij,njq->pq", moved, of_logits, moved) / len(context.train)
        q = 1 - p.gather(1, context.train.targets[:, None])[:, 0]
        return cls(margin_gradients(context.train), margin_gradients(context.test), matrix, q)

    def influence(self, damping: float) -> Tensor:
        damped = self.matrix + damping * torch.eye(len(self.matrix)).to(self.matrix)
        return self.test @ torch.linalg.solve(damped, (self.train * self.q[:, None]).T) / len(self.q)


def columns(context: MethodContext) -> Tensor:
    """Places among all parameters, one tensor after another, in the order that rows of gradients have."""
    at, places = 0, {}
    for name, value in context.architecture.named_parameters():
        places[name] = torch.arange(at, at + value.numel()).reshape(value.shape)
        at += value.numel()

    def of_layer(layer: Layer) -> Tensor:
        height = layer.n_rows if layer.kind == "matrix" else 1
        return torch.cat([places[name].reshape(height, -1) for name in layer.parameters], dim=1).flatten()

    return torch.cat([of_layer(layer) for layer in context.gradients.layers])


def scores_of(method: str, context: MethodContext) -> Tensor:
    return find_method(method).fit(context).block(EVERYTHING)


# --- the whole matrix ----------------------------------------------------------------------------------------


@ALL_MODELS
def test_exact_influence_is_a_dense_solve_with_the_jacobian(name: str):
    context = material_of(name, n_checkpoints=2)
    scores = find_method("influence_exact").fit(context)
    expected = [Dense.of(context, checkpoint).influence(DAMPING) for checkpoint in range(2)]
    torch.testing.assert_close(scores.block(EVERYTHING), (expected[0] + expected[1]) / 2, **CLOSE)
    torch.testing.assert_close(scores.first(1).block(EVERYTHING), expected[0], **CLOSE)
    assert scores.settings == {"damping": DAMPING}


@ALL_MODELS
def test_the_fisher_matrix_is_the_gauss_newton_matrix(name: str):
    context = material_of(name)
    rows = influence._fisher_rows(context, context.states[0])
    found = fisher_matrix(rows, context.n_parameters, N_TRAIN, like=context.train.inputs)
    torch.testing.assert_close(found, Dense.of(context).matrix, **CLOSE)


def test_damping_is_the_weight_decay_or_else_a_little():
    context = material_of("mlp", weight_decay=0.0)
    scores = scores_of("influence_exact", context)
    torch.testing.assert_close(scores, Dense.of(context).influence(1e-3), rtol=1e-6, atol=1e-9)


def test_a_matrix_that_is_not_positive_definite_is_refused():
    with pytest.raises(SingularKernelError, match=r"3 parameters with damping=0\.5 .*larger damping"):
        solve_damped(-torch.eye(3), torch.ones(1, 3), 0.5)


# --- products and conjugate gradients ------------------------------------------------------------------------


@ALL_MODELS
def test_products_with_the_gauss_newton_matrix_are_those_of_the_dense_one(name: str):
    context = material_of(name)
    as_states, as_rows = influence._between(context, context.states[0])
    torch.manual_seed(1)
    vectors = torch.randn(VECTORS + 3, context.n_parameters, dtype=torch.float64)
    states = as_states(vectors)
    assert torch.equal(as_rows(states), vectors)
    assert {key: value.shape[1:] for key, value in states.items()} == {
        key: value.shape for key, value in context.architecture.named_parameters()
    }
    train = context.train
    products = gauss_newton_products(
        context.architecture, context.states[0], train.inputs, train.targets, TASK, states, batch_size=5
    )
    torch.testing.assert_close(as_rows(products), vectors @ Dense.of(context).matrix, **CLOSE)


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
    context = material_of(name)
    exact, scores = scores_of("influence_exact", context), find_method("influence_cg").fit(context)
    assert 0 < scores.settings["residual"] <= influence.TOLERANCE
    # The residual is divided by eigenvalues from the damping on.
    assert (scores.block(EVERYTHING) - exact).abs().max() < 0.02 * exact.abs().max()
    solved, residuals = influence.solve_by_steps(context, context.states[0], context.test, DAMPING, 1e-10)
    dense = Dense.of(context)
    assert (residuals <= 1e-10).all()
    torch.testing.assert_close(solved @ (dense.train * dense.q[:, None]).T / N_TRAIN, exact, rtol=1e-6, atol=1e-8)


# --- the sampled Fisher matrix ---------------------------------------------------------------------------------


@ALL_MODELS
def test_the_closed_form_is_influence_with_the_matrix_of_the_drawn_gradients(name: str):
    context = material_of(name)
    found = find_method("influence_fisher").fit(context)
    rows, dense = (
        influence_fisher.fisher_rows(context, context.states[0], influence_fisher.MOST_DRAWS),
        Dense.of(context),
    )
    assert len(rows) == influence_fisher.MOST_DRAWS * N_TRAIN
    drawn = replace(dense, matrix=rows.T @ rows)
    torch.testing.assert_close(found.block(EVERYTHING), drawn.influence(DAMPING), **CLOSE)
    own = replace(drawn, test=drawn.train).influence(DAMPING).diagonal()
    torch.testing.assert_close(found.self_influence(), own, **CLOSE)


def test_many_draws_come_to_exact_influence(monkeypatch: pytest.MonkeyPatch):
    context = material_of("mlp")
    exact = scores_of("influence_exact", context)
    far = []
    for draws in (1, 4, 100):
        monkeypatch.setattr(influence_fisher, "MOST_DRAWS", draws)
        far.append(float((scores_of("influence_fisher", context) - exact).abs().max() / exact.abs().max()))
    assert far[0] > far[2] and far[1] > far[2] and far[2] < 0.05


def test_short_of_memory_layers_go_one_after_another_and_draws_are_fewer(monkeypatch: pytest.MonkeyPatch):
    context = material_of("mlp")
    size = 4 * N_TRAIN * context.n_parameters
    short, ample = replace(context, memory=size), replace(context, memory=100 * size)
    assert [influence_fisher.n_draws(each) for each in (short, ample)] == [3, 4]
    assert [len(influence_fisher.layer_groups(each, 3)) for each in (short, ample)] == [
        len(context.gradients.layers),
        1,
    ]
    monkeypatch.setattr(influence_fisher, "MOST_DRAWS", 3)
    torch.testing.assert_close(scores_of("influence_fisher", short), scores_of("influence_fisher", ample), **CLOSE)
    with pytest.raises(NeedNotMetError, match=r"gradients of the train examples that fit into memory.*influence_ekfac"):
        replace(context, memory=size - 1).require("influence_fisher", find_method("influence_fisher").info.needs)


@pytest.mark.parametrize(("sign", "chosen"), [(-1, max(influence_fisher.SHARES)), (1, 0.0)])
def test_the_damping_of_the_sampled_fisher_is_the_one_that_predicts_best(sign: int, chosen: float):
    context = material_of("mlp", n_checkpoints=2)
    masks = torch.rand(12, N_TRAIN, generator=torch.Generator().manual_seed(0)) < 0.5
    # More damping makes scores smaller.
    by_size = Tuning(masks, lambda predicted: sign * float(predicted.abs().mean()))
    assert find_method("influence_fisher").fit(replace(context, tuning=by_size)).settings["share"] == chosen


def test_tokens_can_be_asked_about():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, N_CLASSES))
    train, test = torch.randint(7, (N_TRAIN, 2)), torch.randint(7, (N_TEST, 2))
    labels = torch.arange(N_TRAIN) % N_CLASSES
    examples = Examples(train, labels), Examples(test, labels[:N_TEST])
    context = MethodContext(TASK, model, [model.state_dict()], *examples, weight_decay=DAMPING)
    exact, stepwise = (scores_of(method, context) for method in ("influence_exact", "influence_cg"))
    torch.testing.assert_close(exact, Dense.of(context).influence(DAMPING), rtol=1e-3, atol=1e-5)
    assert (stepwise - exact).abs().max() < 0.02 * exact.abs().max()


# --- a convex problem, fitted again --------------------------------------------------------------------------


def optimum(context: MethodContext, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax regression with weights of examples `[m, n_train]` by Newton's method: weights and biases `[m, ...]`."""
    inputs = torch.cat([context.train.inputs, torch.ones(len(context.train), 1, dtype=torch.float64)], dim=1)

    def loss(flat: Tensor, weight: Tensor) -> Tensor:
        losses = TASK.loss(inputs @ flat.reshape(N_CLASSES, -1).T, context.train.targets)
        return (losses * weight).mean() + context.weight_decay / 2 * (flat**2).sum()

    at = torch.zeros(len(weights), N_CLASSES * inputs.shape[1], dtype=torch.float64)
    for _ in range(9):
        slopes, curvatures = vmap(grad(loss))(at, weights), vmap(hessian(loss))(at, weights)
        at = at - torch.linalg.solve(curvatures, slopes)
    assert vmap(grad(loss))(at, weights).abs().max() < 1e-12
    matrices = at.reshape(len(weights), N_CLASSES, -1)
    return matrices[:, :, :-1], matrices[:, :, -1]


def margins(context: MethodContext, weights: Tensor) -> Tensor:
    """Margins `[n_test, m]` of models fitted with weights of examples `[m, n_train]`."""
    matrices, biases = optimum(context, weights)
    logits = torch.einsum("nd,mcd->mnc", context.test.inputs, matrices) + biases[:, None]
    return TASK.model_output(logits, context.test.targets.expand(len(weights), -1)).T


def fitted() -> tuple[MethodContext, Tensor]:
    """A problem with a minimum of its own, the model at it, and a row of ones for each of 60 train examples."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(60, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(60, N_CLASSES, generator=generator, dtype=torch.float64)
    train = Examples(inputs, (inputs[:, :N_CLASSES] + noise).argmax(1))
    context = replace(material_of("linear", weight_decay=0.05), train=train)
    ones = torch.ones(60, 60, dtype=torch.float64)
    matrices, biases = optimum(context, ones[:1])
    return replace(context, states=[{"weight": matrices[0], "bias": biases[0]}]), ones


def test_for_a_convex_problem_exact_influence_is_the_derivative_in_the_weight_of_an_example():
    context, ones = fitted()
    change = 1e-5 * torch.eye(len(ones), dtype=torch.float64)
    slopes = (margins(context, ones + change) - margins(context, ones - change)) / 2e-5
    torch.testing.assert_close(scores_of("influence_exact", context), slopes, rtol=1e-6, atol=1e-8)


def test_for_a_convex_problem_exact_influence_predicts_fitting_without_an_example():
    context, ones = fitted()
    change = margins(context, ones[:1]) - margins(context, ones - torch.eye(len(ones)))
    scores = scores_of("influence_exact", context)
    slope = (scores * change).sum() / (scores * scores).sum()
    assert torch.corrcoef(torch.stack([scores.flatten(), change.flatten()]))[0, 1] > 0.99
    assert 0.95 < slope < 1.15


# --- EK-FAC --------------------------------------------------------------------------------------------------


def test_where_the_curvature_is_a_kronecker_product_ekfac_influence_is_exact():
    context = material_of("linear")
    same = Examples(context.train.inputs[:1].expand(N_TRAIN, -1), context.train.targets)
    context = replace(context, train=same)
    torch.testing.assert_close(scores_of("influence_ekfac", context), scores_of("influence_exact", context), **CLOSE)


@pytest.mark.parametrize("name", ["mlp", "norms", "conv"])
def test_ekfac_influence_is_a_dense_solve_with_its_own_matrix(name: str):
    context = material_of(name, n_checkpoints=2)
    expected = []
    for checkpoint, state in enumerate(context.states):
        factors = fit_ekfac(context.gradients.computer, [state], context.train.inputs, 0, draws=None)
        expected.append(replace(Dense.of(context, checkpoint), matrix=matrix_of(factors)).influence(DAMPING))
    torch.testing.assert_close(scores_of("influence_ekfac", context), sum(expected) / 2, **CLOSE)


def matrix_of(factors: EkfacFactors) -> Tensor:
    return ekfac_applied(factors, torch.eye(factors.width, dtype=torch.float64), lambda eigenvalues: eigenvalues)


@pytest.mark.parametrize("method", ["influence_ekfac", "influence_exact", "influence_fisher"])
def test_with_a_huge_damping_influence_is_the_inner_product_of_gradients(method: str):
    context = material_of("mlp", weight_decay=1e9)
    scores = scores_of(method, context) * 1e9 * N_TRAIN
    torch.testing.assert_close(scores, scores_of("grad_dot", context), rtol=1e-6, atol=1e-8)


def test_without_weight_decay_ekfac_damps_with_a_tenth_of_the_mean_eigenvalue():
    context = material_of("mlp", weight_decay=0.0)
    factors = fit_ekfac(context.gradients.computer, context.states, context.train.inputs, 0, draws=None)
    mean = float(matrix_of(factors).diagonal().mean())
    settings = find_method("influence_ekfac").fit(context).settings
    assert settings["damping"] == pytest.approx(0.1 * mean)


def tuned_to(method: str, candidates: list[MethodContext], plain: MethodContext) -> list[Scores]:
    """Scores of a method with tuning that wants the outcomes predicted by each of the candidates."""
    masks = torch.rand(9, N_TRAIN, generator=torch.Generator().manual_seed(0)) < 0.5
    found = []
    for candidate in candidates:
        wanted = find_method(method).fit(candidate).predict(masks)
        tuning = Tuning(masks, lambda predicted, wanted=wanted: -float((predicted - wanted).abs().sum()))
        found.append(find_method(method).fit(replace(plain, tuning=tuning)))
    return found


def test_the_damping_of_ekfac_is_the_one_that_predicts_best():
    context = material_of("mlp", n_checkpoints=2)
    dampings = [DAMPING * share for share in influence.EKFAC_DAMPINGS]
    candidates = [replace(context, weight_decay=damping) for damping in dampings]
    for scores, damping, candidate in zip(
        tuned_to("influence_ekfac", candidates, context), dampings, candidates, strict=True
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
    context = material_of("mlp", n_checkpoints=2)
    monkeypatch.setattr(logra, "DEFAULT_DAMPING", share)
    sizes = [layer.size for layer in context.gradients.layers]
    expected = sum(block_influence(Dense.of(context, checkpoint), sizes, share) for checkpoint in range(2)) / 2
    scores = find_method("logra").fit(context)
    assert scores.settings == {"damping": share}
    torch.testing.assert_close(scores.block(EVERYTHING), expected, **CLOSE)


def test_with_a_huge_damping_logra_orders_as_the_inner_product_of_gradients(monkeypatch: pytest.MonkeyPatch):
    context, share = material_of("linear"), 1e9
    monkeypatch.setattr(logra, "DEFAULT_DAMPING", share)
    scores, dots = scores_of("logra", context), scores_of("grad_dot", context)
    assert torch.equal(scores.argsort(1), dots.argsort(1))
    dense = Dense.of(context)
    mean = float(((dense.train * dense.q[:, None]) ** 2).mean())
    torch.testing.assert_close(scores * share * mean * N_TRAIN, dots, rtol=1e-6, atol=1e-8)


def test_each_checkpoint_of_logra_has_a_projection_of_its_own(monkeypatch: pytest.MonkeyPatch):
    context = material_of("mlp")
    twice = replace(context, states=[*context.states, *context.states])
    whole = find_method("logra").fit(twice)
    assert not whole.standard_error(EVERYTHING).any()
    monkeypatch.setattr(logra, "PROJ_DIM", 24)
    projected = find_method("logra").fit(twice)
    assert projected.standard_error(EVERYTHING).any()
    monkeypatch.setattr(logra, "PROJ_DIM", 56)  # all but the last row and column of one layer
    nearly = scores_of("logra", twice)
    assert torch.corrcoef(torch.stack([nearly.flatten(), whole.block(EVERYTHING).flatten()]))[0, 1] > 0.9


def test_a_layer_without_gradients_plays_no_part_in_logra():
    context = material_of("mlp")
    weights = dict(context.states[0])
    weights["2.weight"] = torch.zeros_like(weights["2.weight"])  # nothing reaches the first layer
    scores = scores_of("logra", replace(context, states=[weights]))
    dense = Dense.of(replace(context, states=[weights]))
    first, last = (layer.size for layer in context.gradients.layers)
    assert not dense.train[:, :first].any()
    only = replace(dense, train=dense.train[:, first:], test=dense.test[:, first:])
    torch.testing.assert_close(scores, block_influence(only, [last], logra.DEFAULT_DAMPING), **CLOSE)


# --- SOURCE --------------------------------------------------------------------------------------------------


def log_of(context: MethodContext, learning_rate: float = 0.1, weight_decay: float = DAMPING) -> TrainingLog:
    """A log with the states of the context, at equal distances; SOURCE takes them as they are."""
    n_parts = len(context.states) - 1
    settings = TrainingSettings(n_parts, 3, learning_rate, 0.9, weight_decay)
    schedule = Schedule(settings, N_TRAIN)
    moments = [Moment(part * schedule.steps_an_epoch, dict(state), {}) for part, state in enumerate(context.states)]
    return TrainingLog(0, schedule, moments)


def source_by_hand(context: MethodContext, log: TrainingLog, parts: list[list[int]], times: list[float]) -> Tensor:
    """SOURCE with dense matrices: states and time of each segment, the first segment first."""
    decay = log.schedule.settings.weight_decay
    queries = Dense.of(context, len(log.moments) - 1).test
    total = torch.zeros(N_TEST, N_TRAIN, dtype=torch.float64)
    for numbers, time in reversed(list(zip(parts, times, strict=True))):
        states = [log.moments[number].parameters for number in numbers]
        factors = fit_ekfac(context.gradients.computer, states, context.train.inputs, context.seed, draws=None)
        curvature = matrix_of(factors)
        identity = torch.eye(len(curvature), dtype=torch.float64)
        curvature = curvature + decay * identity
        kept = torch.matrix_exp(-time * curvature)
        moved = torch.linalg.solve(curvature, identity - kept)
        for number in numbers:
            dense = Dense.of(context, number)
            total += queries @ moved @ (dense.train * dense.q[:, None]).T / (len(numbers) * N_TRAIN)
        queries = queries @ kept
    return total


@pytest.mark.parametrize("name", ["mlp", "norms"])
def test_source_is_its_formula_with_dense_matrices(name: str):
    context = material_of(name, n_checkpoints=7)
    log = log_of(context)
    parts = segments(log, 3)
    assert [[moment.step for moment in part.moments] for part in parts] == [[6, 12], [18, 24], [30, 36]]
    scores = source_scores(context, log, 3)
    expected = source_by_hand(context, log, [[1, 2], [3, 4], [5, 6]], [part.time for part in parts])
    torch.testing.assert_close(scores, expected, **CLOSE)
    whole = sum(part.time for part in parts)
    expected = source_by_hand(context, log, [[1, 2, 3, 4, 5, 6]], [whole])
    torch.testing.assert_close(source_scores(context, log, 1), expected, **CLOSE)


def test_source_over_logs_is_the_mean_over_them():
    context = material_of("mlp", n_checkpoints=7)
    logs = [log_of(context), log_of(context, learning_rate=0.3)]
    scores = find_method("source").fit(replace(context, logs=logs))
    expected = [source_scores(context, log, 3) for log in logs]
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
    context = material_of("mlp", n_checkpoints=2)
    # One recorded state, so that the averaged curvature is that of the checkpoint.
    scores = source_scores(context, log_of(context, learning_rate=1e4), 1)
    last = replace(context, states=context.states[1:])
    torch.testing.assert_close(scores, scores_of("influence_ekfac", last), **CLOSE)


def test_after_hardly_any_training_source_is_the_inner_product_of_gradients():
    context = material_of("mlp", n_checkpoints=2)
    log = log_of(context, learning_rate=1e-9)
    time = segments(log, 1)[0].time
    dots = scores_of("grad_dot", replace(context, states=context.states[1:]))
    torch.testing.assert_close(source_scores(context, log, 1), dots * time / N_TRAIN, rtol=1e-6, atol=0)
