"""Tasks with references for each checkpoint and with two sides, against one example and one backward pass at a time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import trak_core as tc
from tests.oracles import primal_trak
from tests.toy_tasks import N_LEFT, N_RIGHT, N_TOKENS, NextTokens, Pairs, PairsModel, TokensModel
from trak_core.curvature import fisher_matrix
from trak_core.gradients import StateDict, prepared, representations, take
from trak_core.methods import DEFAULT_RIDGE, Examples, GradientRows, MethodContext, find_method, influence
from trak_core.methods.magic import magic_scores
from trak_core.subjects.batches import read_data
from trak_core.tasks import Inputs, Regression, Targets, Task, call
from trak_core.training import (
    Ensemble,
    Schedule,
    TrainingSettings,
    train_ensemble,
    train_recorded,
    train_reweighted,
)
from trak_core.training.ensemble import make_models

# torch's own, when it takes its first forward derivative.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
N_TRAIN, N_TEST, N_POSITIONS = 12, 5, 3
SETTINGS = TrainingSettings(epochs=3, batch_size=4, learning_rate=0.1, momentum=0.9, weight_decay=0.01)
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
EVERYTHING = slice(None)


def pairs(n: int) -> Inputs:
    return {
        "left": torch.randn(n, N_LEFT, dtype=torch.float64),
        "right": torch.randn(n, N_RIGHT, dtype=torch.float64),
    }


def nothing(inputs: Inputs) -> Tensor:
    assert isinstance(inputs, dict)
    return torch.zeros(len(inputs["left"]), dtype=torch.float64)


def tokens(n: int) -> Tensor:
    return torch.randint(N_TOKENS, (n, N_POSITIONS))


def next_tokens(inputs: Inputs) -> Tensor:
    assert isinstance(inputs, Tensor)
    targets = (inputs * 5 + 1) % N_TOKENS
    targets[::2, 0] = -1  # padding
    return targets


def pairs_context() -> MethodContext:
    torch.manual_seed(3)
    task, model = Pairs(pairs(6)), PairsModel().double()
    train, test = pairs(N_TRAIN), pairs(N_TEST)
    return MethodContext(
        task, model, states_of(model), Examples(train, nothing(train)), Examples(test, nothing(test)), weight_decay=1.0
    )


def tokens_context() -> MethodContext:
    torch.manual_seed(4)
    model, train, test = TokensModel().double(), tokens(N_TRAIN), tokens(N_TEST)
    examples = Examples(train, next_tokens(train)), Examples(test, next_tokens(test))
    return MethodContext(NextTokens(), model, states_of(model), *examples, weight_decay=0.1)


def states_of(model: nn.Module) -> list[StateDict]:
    state = model.state_dict()
    return [{name: value + 0.5 * torch.randn_like(value) for name, value in state.items()} for _ in range(2)]


CONTEXTS: dict[str, Callable[[], MethodContext]] = {"pairs": pairs_context, "tokens": tokens_context}
BOTH = pytest.mark.parametrize("name", CONTEXTS)


def f_by_hand(context: MethodContext, leaves: StateDict, state: StateDict, one: Inputs, target: Tensor, query: bool):
    """f of one example, written out; what is prepared is taken at `state`, what is differentiated are the `leaves`."""
    outputs = call(lambda *args, **kwargs: functional_call(context.architecture, leaves, args, kwargs), one)
    if isinstance(context.task, NextTokens):
        log_p = outputs[0].log_softmax(-1)
        total = sum(log_p[place, int(token)] for place, token in enumerate(target[0]) if token >= 0)
        return torch.log(total.exp() / (1 - total.exp())) if query else total
    assert isinstance(context.task, Pairs)
    with torch.no_grad():
        known = functional_call(context.architecture, state, (), context.task.references)
    left, right = outputs["left_embeds"][0], outputs["right_embeds"][0]
    given, others = (right, known["left_embeds"]) if query else (left, known["right_embeds"])
    return left @ right - torch.logsumexp(others @ given, 0)


def loop(context: MethodContext, state: StateDict, examples: Examples, query: bool) -> tuple[Tensor, Tensor]:
    """Gradients of f `[n, p]` in the order of the parameters, and f `[n]`."""
    rows, values = [], []
    for i in range(len(examples)):
        leaves = {name: value.clone().requires_grad_() for name, value in state.items()}
        one = slice(i, i + 1)
        value = f_by_hand(context, leaves, state, take(examples.inputs, one), examples.targets[one], query)
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(leaves.values()))]))
        values.append(value.detach())
    return torch.stack(rows), torch.stack(values)


def q_by_hand(context: MethodContext, f: Tensor) -> Tensor:
    return torch.sigmoid(-f) if isinstance(context.task, Pairs) else torch.ones_like(f)


def trak_by_hand(context: MethodContext) -> np.ndarray:
    trains = [loop(context, state, context.train, False) for state in context.states]
    tests = [loop(context, state, context.test, True)[0].numpy() for state in context.states]
    q = torch.stack([q_by_hand(context, f) for _, f in trains]).mean(0).numpy()
    return primal_trak([rows.numpy() for rows, _ in trains], tests, q, DEFAULT_RIDGE)


def scores_of(method: str, context: MethodContext) -> Tensor:
    return find_method(method).fit(context).block(EVERYTHING)


@BOTH
def test_rows_of_both_sides_have_the_inner_products_of_the_loop(name: str):
    context = CONTEXTS[name]()
    for state in context.states:
        train = context.gradients.whole(state, context.train.inputs, context.train.targets)
        test = context.query_gradients.whole(state, context.test.inputs, context.test.targets)
        (by_hand, f), (asked, _) = loop(context, state, context.train, False), loop(context, state, context.test, True)
        torch.testing.assert_close(context.gradients.inner_products(test, train), asked @ by_hand.T, **CLOSE)
        torch.testing.assert_close(context.q(state), q_by_hand(context, f), **CLOSE)


@BOTH
def test_trak_asks_each_side_about_its_own_examples_at_every_checkpoint(name: str):
    context = CONTEXTS[name]()
    np.testing.assert_allclose(scores_of("trak", context).numpy(), trak_by_hand(context), rtol=1e-8, atol=1e-10)


@BOTH
def test_gradient_dot_is_the_mean_of_the_loops_products(name: str):
    context, expected = CONTEXTS[name](), 0.0
    for state in context.states:
        (train, f), (test, _) = loop(context, state, context.train, False), loop(context, state, context.test, True)
        expected = expected + test @ train.T * q_by_hand(context, f) / len(context.states)
    torch.testing.assert_close(scores_of("grad_dot", context), expected, **CLOSE)


@BOTH
@pytest.mark.parametrize("method", ["influence_exact", "influence_cg"])
def test_influence_solves_with_the_curvature_of_the_train_side(name: str, method: str):
    """The curvature is the Hessian of the prepared loss in the outputs, between derivatives of these."""
    context = CONTEXTS[name]()
    names = list(context.states[0])
    expected = 0.0
    for state in context.states:
        task = context.task.prepare(
            lambda *args, state=state, **kw: functional_call(context.architecture, state, args, kw)
        )
        jacobians, hessians = [], []
        for i in range(N_TRAIN):
            one = slice(i, i + 1)
            inputs, target = take(context.train.inputs, one), context.train.targets[one]

            def outputs(*values: Tensor, inputs: Inputs = inputs, task: Task = task) -> Tensor:
                at = dict(zip(names, values, strict=True))
                return task.outputs_of(lambda *args, **kw: functional_call(context.architecture, at, args, kw), inputs)

            parts = torch.autograd.functional.jacobian(outputs, tuple(state.values()))
            given = outputs(*state.values())
            size = given.numel()
            jacobians.append(torch.cat([part.reshape(size, -1) for part in parts], dim=1))
            curved = torch.autograd.functional.hessian(lambda z, t=target, task=task: task.loss(z, t).sum(), given)
            curved = curved.reshape(size, size)
            values, vectors = torch.linalg.eigh(curved)
            hessians.append(vectors * values.clamp_min(0) @ vectors.T)  # without where the loss curves downwards
        matrix = sum(j.T @ h @ j for j, h in zip(jacobians, hessians, strict=True)) / N_TRAIN
        (train, f), (test, _) = loop(context, state, context.train, False), loop(context, state, context.test, True)
        damped = matrix + context.weight_decay * torch.eye(len(matrix)).double()
        solved = torch.linalg.solve(damped, (train * q_by_hand(context, f)[:, None]).T)
        expected = expected + test @ solved / N_TRAIN / len(context.states)
    if method == "influence_cg":
        atol = 1e-2 * float(expected.abs().max())  # to its own tolerance
        torch.testing.assert_close(scores_of(method, context), expected, rtol=0, atol=atol)
    else:
        torch.testing.assert_close(scores_of(method, context), expected, rtol=1e-7, atol=1e-10)


def test_the_curvature_of_tokens_is_the_sum_over_positions():
    """What the task brings of its own is the Hessian of its loss, padding left out."""
    context = tokens_context()
    by_hessian = type("ByHessian", (NextTokens,), {"curvature": Task.curvature})()
    found = []
    for each in (context, replace(context, task=by_hessian, _sides=[])):
        rows = influence._fisher_rows(each, each.states[0])
        found.append(fisher_matrix(rows, each.n_parameters, N_TRAIN, torch.zeros(1, dtype=torch.float64)))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_every_token_can_be_asked_about_besides_the_whole():
    context = tokens_context()
    outputs = functional_call(context.architecture, context.states[0], (context.test.inputs,))
    targets = Targets.of(context.task.query, outputs, context.test.targets)
    assert targets.every.shape == (N_TEST, 1 + N_POSITIONS, N_POSITIONS)
    assert targets.first == 0 and not targets.default.any() and targets.has_further
    assert torch.equal(targets.every[:, 0], context.test.targets)
    log_p = outputs.log_softmax(-1)
    found = context.task.query.model_outputs(outputs, targets.every)
    for i in range(N_TEST):
        for place, token in enumerate(context.test.targets[i]):
            if token >= 0:
                p = log_p[i, place, token].exp()
                torch.testing.assert_close(found[i, 1 + place], torch.log(p / (1 - p)))


# --- the attributor ------------------------------------------------------------------------------------------


def attributor_of(context: MethodContext, **settings: object) -> tc.Attributor:
    attributor = tc.Attributor(
        context.architecture,
        context.task,
        context.states,
        device="cpu",
        precision="float64",
        progress=False,
        **settings,  # type: ignore[arg-type]
    )
    return attributor.fit([(context.train.inputs, context.train.targets)])


@BOTH
def test_an_attributor_asks_both_sides_too(name: str):
    context = CONTEXTS[name]()
    attributor = attributor_of(context, projection="none")
    scores = attributor.score([(context.test.inputs, context.test.targets)])
    np.testing.assert_allclose(scores, trak_by_hand(context), rtol=1e-5, atol=1e-6)  # given in float32


@BOTH
def test_projected_features_of_both_sides_have_the_norms_and_outputs_of_the_loop(name: str):
    context = CONTEXTS[name]()
    fitted = attributor_of(context, projection="sjlt", proj_dim=40).fitted
    block = next(read_data([(context.test.inputs, context.test.targets)], "test").blocks(100))
    for i, state in enumerate(context.states):
        rows, f = loop(context, state, context.test, True)
        found = fitted.features(i, fitted.maps[i], block, context.test.targets)
        torch.testing.assert_close(found.norm, rows.norm(dim=1), **CLOSE)
        torch.testing.assert_close(found.model_output, f, **CLOSE)
        rows, f = loop(context, state, context.train, False)
        np.testing.assert_allclose(fitted.store.column(i, "norm"), rows.norm(dim=1).numpy(), rtol=1e-9)
        np.testing.assert_allclose(fitted.store.column(i, "q"), q_by_hand(context, f).numpy(), rtol=1e-9)


def test_references_come_to_the_type_of_the_checkpoint():
    context = pairs_context()
    rough = Pairs({name: value.float() for name, value in context.task.references.items()})
    known = prepared(rough, context.architecture, context.states[0]).known
    assert known.dtype == torch.float64
    torch.testing.assert_close(
        known, prepared(context.task, context.architecture, context.states[0]).known, rtol=1e-5, atol=1e-6
    )
    assert not known.requires_grad


# --- training ------------------------------------------------------------------------------------------------


def test_pairs_are_trained_against_the_others_of_their_batch():
    """The unprepared loss looks over the batch; models that train together are those that train alone."""
    torch.manual_seed(5)
    task, train = Pairs(pairs(3)), pairs(N_TRAIN)

    def make() -> nn.Module:
        return PairsModel().double()

    masks = np.ones((2, N_TRAIN), dtype=bool)
    ensemble = train_ensemble(make, task, train, nothing(train), masks, [1, 2], SETTINGS)
    schedule = Schedule(SETTINGS, N_TRAIN)
    for index, seed in enumerate((1, 2)):
        model = make_models(make, [seed])[0]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for step, batch in enumerate(schedule.batches(seed)):
            optimizer.param_groups[0]["lr"] = schedule.learning_rate(step)
            optimizer.zero_grad()
            found = model(**take(train, batch))
            similarity = found["left_embeds"] @ found["right_embeds"].T
            torch.nn.functional.cross_entropy(similarity, torch.arange(len(batch))).backward()
            optimizer.step()
        for name, value in model.named_parameters():
            torch.testing.assert_close(ensemble.state_dict(index)[name], value.detach(), rtol=1e-9, atol=1e-12)


def test_what_models_say_of_pairs_is_said_with_the_references_of_each_model():
    context = pairs_context()
    ensemble = Ensemble.from_state_dicts(context.architecture, context.states, "cpu")
    for task, examples, query in ((context.task, context.train, False), (context.task.query, context.test, True)):
        outputs = ensemble.outputs(task, examples.inputs)
        found = ensemble.of_each("model_output", task, outputs, examples.targets)
        expected = torch.stack([loop(context, state, examples, query)[1] for state in context.states])
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("name", ["pairs", "tokens"])
def test_magic_is_the_derivative_of_real_retraining_for_both(name: str):
    """The derivative holds the references of the query side fixed at the end of training, and so does the oracle."""
    context, epsilon = CONTEXTS[name](), 1e-4
    make = {"pairs": lambda: PairsModel().double(), "tokens": lambda: TokensModel().double()}[name]
    train, test = context.train, context.test
    trained = train_recorded(make, context.task, train.inputs, train.targets, [3], SETTINGS)
    found = magic_scores(replace(context, logs=trained.logs), trained.logs[0])
    weights = np.ones((2 * N_TRAIN, N_TRAIN))
    weights[:N_TRAIN] += epsilon * np.eye(N_TRAIN)
    weights[N_TRAIN:] -= epsilon * np.eye(N_TRAIN)
    models = train_reweighted(make, context.task, train.inputs, train.targets, weights, [3] * len(weights), SETTINGS)
    end = trained.ensemble.state_dict(0)
    task = context.task.query.prepare(lambda *args, **kw: functional_call(context.architecture, end, args, kw))
    outputs = models.outputs(task, test.inputs)
    f = torch.stack([task.model_output(each, test.targets) for each in outputs])
    expected = (f[:N_TRAIN] - f[N_TRAIN:]).T / (2 * epsilon)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


# --- inputs in every form ------------------------------------------------------------------------------------


class Sum(nn.Module):
    """One network for inputs in three forms: one tensor, two arguments, or two names."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 3), nn.Linear(3, 1)

    def forward(self, first: Tensor, second: Tensor | None = None) -> Tensor:
        whole = first if second is None else torch.cat([first, second], dim=1)
        return self.head(torch.tanh(self.inner(whole)))


def in_form(form: str, inputs: Tensor) -> Inputs:
    return {
        "tensor": inputs,
        "tuple": (inputs[:, :1], inputs[:, 1:]),
        "dict": {"second": inputs[:, 1:], "first": inputs[:, :1]},
    }[form]


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_training_scores_and_representations_do_not_depend_on_the_form_of_inputs(form: str):
    torch.manual_seed(6)
    rows = torch.randn(N_TRAIN + N_TEST, 4, dtype=torch.float64)
    targets = rows.sum(1)
    task = Regression()
    found = {}
    for name in ("tensor", form):
        train, test = in_form(name, rows[:N_TRAIN]), in_form(name, rows[N_TRAIN:])
        trained = train_recorded(lambda: Sum().double(), task, train, targets[:N_TRAIN], [0, 1], SETTINGS)
        ensemble = trained.ensemble
        context = MethodContext(
            task,
            ensemble.architecture,
            [ensemble.state_dict(i) for i in range(2)],
            Examples(train, targets[:N_TRAIN]),
            Examples(test, targets[N_TRAIN:]),
            weight_decay=0.01,
            logs=trained.logs,
        )
        methods = ("trak", "grad_dot", "magic", "influence_exact", "influence_cg", "influence_ekfac", "source", "logra")
        found[name] = [scores_of(method, context) for method in (*methods, "tracin", "embedding", "grad_cos")]
        found[name].append(ensemble.outputs(task, test))
        found[name].append(representations(ensemble.architecture, ensemble.state_dict(0), test))
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_task_of_one_side_has_one_object_for_both():
    context = pairs_context()
    rows = torch.randn(4, 3)
    weights = nn.Linear(3, 1).state_dict()
    sides = GradientRows.of_both_sides(
        nn.Linear(3, 1), Regression(), weights, (rows, torch.zeros(4)), (rows, torch.zeros(4))
    )
    assert sides[0] is sides[1]
    assert context.gradients is not context.query_gradients
