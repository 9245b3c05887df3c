"""What all methods have in common, and the plain ones against loops over examples."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.oracles import loop_gradients, primal_trak
from trak_core.errors import InvalidSettingError, NeedNotMetError
from trak_core.gradients import representations
from trak_core.media import Text
from trak_core.methods import (
    DEFAULT_RIDGE,
    METHODS,
    RIDGES,
    Examples,
    Ledger,
    MethodContext,
    Need,
    ProductScores,
    ScoreMatrix,
    Scores,
    Term,
    Tuning,
    find_method,
    registry,
    soft_threshold,
    trak,
)
from trak_core.methods.kernels import Kernels
from trak_core.methods.method import choose
from trak_core.methods.trak_loop import average_trak
from trak_core.modalities import find_modality
from trak_core.seeds import derive_seed
from trak_core.tasks import Classification, CustomTask, Regression
from trak_core.training import (
    StepLog,
    TrainingSettings,
    draw_half_subsets,
    train_ensemble,
    train_recorded,
)

# torch's own, when it takes its first forward derivative.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
TASK = Classification()
SETTINGS = TrainingSettings(epochs=6, batch_size=6, learning_rate=0.2, momentum=0.9, weight_decay=0.01)
N_TRAIN, N_TEST, N_MODELS, N_FIT = 24, 7, 3, 30
EVERYTHING = slice(None)
ALL = pytest.mark.parametrize("name", METHODS)
# float64: what differs is the order of sums.
CLOSE = {"rtol": 1e-8, "atol": 1e-11}


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


def material_of(dtype: torch.dtype = torch.float32, with_tuning: bool = False) -> MethodContext:
    """Three trained models, with all that a run can offer but for tuning, which comes if wanted."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(N_TRAIN + N_TEST, 5, generator=generator, dtype=torch.float64).to(dtype)
    labels = (inputs[:, :3] + torch.randn(len(inputs), 3, generator=generator)).argmax(1)
    train, test = Examples(inputs[:N_TRAIN], labels[:N_TRAIN]), Examples(inputs[N_TRAIN:], labels[N_TRAIN:])

    def make() -> nn.Module:
        return make_model().to(dtype)

    trained = train_recorded(make, TASK, train.inputs, train.targets, list(range(N_MODELS)), SETTINGS)
    masks = draw_half_subsets(N_FIT, N_TRAIN, seed=2)
    halves = train_ensemble(make, TASK, train.inputs, train.targets, masks, list(range(N_FIT)), SETTINGS)
    outcomes = TASK.model_output(halves.outputs(TASK, test.inputs), test.targets.expand(N_FIT, -1))
    ledger = Ledger(torch.from_numpy(masks), outcomes)

    def quality(predicted: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([predicted.flatten(), outcomes.to(predicted).flatten()]))[0, 1])

    return MethodContext(
        TASK,
        trained.ensemble.architecture,
        [trained.ensemble.state_dict(index) for index in range(N_MODELS)],
        train,
        test,
        weight_decay=SETTINGS.weight_decay,
        logs=trained.logs,
        ledger=ledger,
        tuning=Tuning(ledger.masks, quality) if with_tuning else None,
        modality=find_modality("numbers"),
        train_media=find_modality("numbers").media(train.inputs.float().numpy()),
        test_media=find_modality("numbers").media(test.inputs.float().numpy()),
    )


@pytest.fixture(scope="module")
def context() -> MethodContext:
    """In single precision, with everything."""
    return material_of(with_tuning=True)


@pytest.fixture(scope="module")
def untuned(context: MethodContext) -> MethodContext:
    return replace(context, tuning=None)


@pytest.fixture(scope="module")
def exact() -> MethodContext:
    """In double precision, without tuning."""
    return material_of(torch.float64)


@pytest.fixture(scope="module")
def fitted(context: MethodContext) -> dict[str, Scores]:
    return {name: method.fit(context) for name, method in METHODS.items()}


# --- the registry --------------------------------------------------------------------------------------------


def test_every_method_is_found_by_its_own_name_and_says_what_it_is():
    assert list(METHODS) == [method.info.name for method in registry._ALL]
    assert len({method.info.title for method in METHODS.values()}) == len(METHODS)
    for name, method in METHODS.items():
        assert find_method(name) is method
        assert method.info.title and method.info.description[-1] in ".?"
        assert all(isinstance(need, Need) for need in method.info.needs)
        assert method.info.uses_checkpoints == bool({Need.CHECKPOINTS, Need.TRAINING_LOG} & set(method.info.needs))
        assert method.info.max_checkpoints is None or method.info.max_checkpoints >= 1


def test_baselines_are_told_from_methods():
    baselines = [name for name, method in METHODS.items() if method.info.is_baseline]
    controls = ["grad_norm", "amount", "input_similarity", "lexical_overlap", "same_class", "target_value"]
    assert baselines == ["bm25", "embedding", "nearest", *controls, "random"]
    assert [name for name, method in METHODS.items() if method.info.is_control] == controls


def test_an_unknown_method_is_refused_with_all_that_there_are():
    with pytest.raises(InvalidSettingError) as refusal:
        find_method("tracin_last")
    assert "no method 'tracin_last'" in str(refusal.value)
    assert str(refusal.value).endswith(f"there are: {', '.join(METHODS)}.")


# --- needs ---------------------------------------------------------------------------------------------------


class Plain(nn.Module):
    """A model without any layer that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(5, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight


WITHOUT: dict[Need, Callable[[MethodContext], MethodContext]] = {
    Need.CHECKPOINTS: lambda context: replace(context, states=()),
    Need.EMBEDDINGS: lambda context: replace(context, architecture=Plain()),
    Need.TRAINING_LOG: lambda context: replace(context, logs=()),
    Need.REPLAY: lambda context: replace(context, logs=[StepLog(context.architecture)]),
    Need.LEDGER: lambda context: replace(context, ledger=None),
    Need.SMALL_MODEL: lambda context: replace(context, architecture=nn.Linear(200, 100)),
    Need.MATRIX_LAYERS: lambda context: replace(context, architecture=Plain()),
    Need.CLASSES: lambda context: replace(context, task=Regression()),
    Need.LOSS: lambda context: replace(context, task=CustomTask(lambda z, y: z[:, 0], lambda z, y: z[:, 1])),
    Need.HIDDEN_UNITS: lambda context: replace(context, architecture=nn.Linear(5, 3)),
    Need.MODALITY: lambda context: replace(context, modality=None),
    Need.NUMBERS: lambda context: replace(context, task=TASK),
    Need.TEXTS: lambda context: replace(context, test_media=()),
}


def supplied(context: MethodContext, need: Need) -> MethodContext:
    """No task has both classes and numbers as targets, and numbers are no words; all else is there anyway."""
    if need == Need.TEXTS:
        return replace(context, modality=find_modality("text"))
    return replace(context, task=Regression()) if need == Need.NUMBERS else context


@pytest.mark.parametrize("need", WITHOUT)
def test_what_is_missing_is_named_with_a_way_to_get_it_or_around_it(context: MethodContext, need: Need):
    without = WITHOUT[need](context)
    assert supplied(context, need).missing([need]) == []
    assert need in without.missing(list(Need))
    with pytest.raises(NeedNotMetError) as refusal:
        without.require("some_method", [need])
    said = str(refusal.value)
    assert "'some_method'" in said and need.value in said
    command = "python -m trak_core build" in said
    alternatives = [name for name in METHODS if f"use {name}" in said]
    assert command or alternatives or "a model that ends in a Linear layer" in said
    for name in alternatives:
        without.require(name, find_method(name).info.needs)


@ALL
def test_a_method_is_refused_exactly_without_its_needs(context: MethodContext, name: str):
    needs = METHODS[name].info.needs
    for need in needs:
        context = supplied(context, need)
    context.require(name, needs)
    for need, remove in WITHOUT.items():
        without = remove(context)
        if need in needs:
            with pytest.raises(NeedNotMetError, match=name):
                without.require(name, needs)
        elif not set(without.missing(list(Need))) & set(needs):
            without.require(name, needs)


@pytest.mark.parametrize("layer", [nn.Linear(2, 2), nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1)])
def test_each_kind_of_matrix_counts_as_one(context: MethodContext, layer: nn.Module):
    assert replace(context, architecture=nn.Sequential(layer)).missing([Need.MATRIX_LAYERS]) == []


# --- what every method gives ---------------------------------------------------------------------------------


@ALL
def test_blocks_are_finite_and_their_size_changes_nothing(fitted: dict[str, Scores], name: str):
    scores = fitted[name]
    whole = torch.cat(list(scores.blocks()))
    assert whole.shape == (N_TEST, N_TRAIN) and whole.dtype == torch.float32
    assert whole.isfinite().all() and whole.any()
    for size in (1, 3, N_TEST):
        blocks = list(scores.blocks(size))
        assert [len(block) for block in blocks][:-1] == [size] * (len(blocks) - 1)
        torch.testing.assert_close(torch.cat(blocks), whole, rtol=1e-5, atol=1e-6 * float(whole.abs().max()))
    torch.testing.assert_close(scores.block(slice(2, 5)), whole[2:5], rtol=1e-5, atol=1e-6 * float(whole.abs().max()))


@ALL
def test_predicted_outcomes_are_scores_summed_over_members(
    fitted: dict[str, Scores], context: MethodContext, name: str
):
    scores, masks = fitted[name], context.ledger.masks
    whole = torch.cat(list(scores.blocks())).double()
    expected = masks.double() @ whole.T
    predicted = scores.predict(masks)
    assert predicted.shape == (N_FIT, N_TEST)
    assert (predicted.double() - expected).abs().max() < 1e-5 * expected.abs().max()


@ALL
def test_standard_errors_and_self_influence_are_numbers_of_the_right_shape_or_none(
    fitted: dict[str, Scores], name: str
):
    scores = fitted[name]
    errors, own = scores.standard_error(slice(1, 4)), scores.self_influence()
    assert (errors is None) == (scores.n_checkpoints < 2)
    if errors is not None:
        assert errors.shape == (3, N_TRAIN)
        assert errors.isfinite().all() and (errors >= 0).all() and errors.any()
    assert own is None or (own.shape == (N_TRAIN,) and own.isfinite().all())
    assert all(math.isfinite(value) for value in scores.settings.values())


@ALL
def test_self_influence_is_the_score_of_an_example_for_itself(untuned: MethodContext, name: str):
    scores = METHODS[name].fit(replace(untuned, test=untuned.train))
    own = scores.self_influence()
    if own is None:
        assert name not in (
            "trak",
            "trak_threshold",
            "grad_dot",
            "tracin",
            "influence_exact",
            "influence_ekfac",
            "logra",
        )
        return
    diagonal = torch.cat(list(scores.blocks())).diagonal()
    torch.testing.assert_close(own, diagonal, rtol=1e-3, atol=1e-4 * float(diagonal.abs().max()))


# A threshold is relative to the scores of all checkpoints.
@pytest.mark.parametrize("name", [name for name in METHODS if name != "trak_threshold"])
def test_scores_of_the_first_checkpoints_are_those_of_a_run_that_has_no_more(untuned: MethodContext, name: str):
    scores = METHODS[name].fit(untuned)
    info = METHODS[name].info
    averages = info.uses_checkpoints
    assert scores.n_checkpoints == (N_MODELS if averages else 0)
    for n in (1, 2) if averages else ():
        few, alone = scores.first(n), METHODS[name].fit(untuned.first(n))
        assert few.n_checkpoints == alone.n_checkpoints == n
        expected = alone.block(EVERYTHING)
        tolerance = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(few.block(EVERYTHING), expected, rtol=1e-4, atol=tolerance)
        assert (few.standard_error(EVERYTHING) is None) == (n == 1)


@ALL
def test_the_same_settings_give_the_same_scores_to_the_last_bit(
    fitted: dict[str, Scores], context: MethodContext, name: str
):
    again = METHODS[name].fit(replace(context, _sides=[]))
    assert torch.equal(again.block(EVERYTHING), fitted[name].block(EVERYTHING))
    assert again.settings == fitted[name].settings


RANDOM = ["trak_dropout", "trak_forward", "lora_ensemble", "influence_fisher", "random"]


def test_another_seed_changes_methods_that_draw_and_no_others(fitted: dict[str, Scores], context: MethodContext):
    changed = [
        name
        for name, method in METHODS.items()
        if not torch.equal(method.fit(replace(context, seed=1)).block(EVERYTHING), fitted[name].block(EVERYTHING))
    ]
    assert changed == RANDOM


@pytest.mark.parametrize("name", [name for name in METHODS if not METHODS[name].info.is_baseline])
def test_real_methods_predict_models_retrained_on_other_halves(untuned: MethodContext, name: str):
    masks, outcomes = untuned.ledger.masks, untuned.ledger.outcomes
    known = replace(untuned, ledger=Ledger(masks[::2], outcomes[::2]))
    predicted, actual = METHODS[name].fit(known).predict(masks[1::2]), outcomes[1::2]
    pair = torch.stack([(values - values.mean(0)).flatten() for values in (predicted, actual)])
    assert torch.corrcoef(pair)[0, 1] > 0.3


# --- choosing settings ---------------------------------------------------------------------------------------


def tuned_by(context: MethodContext, quality: Callable[[Tensor], float]) -> MethodContext:
    masks = torch.ones(2, N_TRAIN, dtype=torch.bool)
    return replace(context, tuning=Tuning(masks, quality))


def test_the_setting_with_the_best_quality_is_chosen_and_undefined_ones_never(untuned: MethodContext):
    settings = (0.1, 1.0, 10.0)

    def predict(setting: float, masks: Tensor) -> Tensor:
        return torch.tensor([setting])

    assert choose(untuned, settings, 3.0, predict) == 3.0
    for qualities, expected in (
        ({0.1: 0.2, 1.0: 0.5, 10.0: 0.3}, 1.0),
        ({0.1: -0.2, 1.0: math.nan, 10.0: -0.3}, 0.1),
        ({0.1: math.nan, 1.0: -0.4, 10.0: math.nan}, 1.0),
        ({0.1: math.nan, 1.0: math.nan, 10.0: math.nan}, 3.0),
        ({0.1: 0.5, 1.0: 0.5, 10.0: 0.5}, 0.1),
    ):
        by_number = {round(setting, 3): quality for setting, quality in qualities.items()}
        context = tuned_by(untuned, lambda outcome, by_number=by_number: by_number[round(float(outcome), 3)])
        assert choose(context, settings, 3.0, predict) == expected
    assert choose(context, (), 3.0, predict) == 3.0


def with_wanted(context: MethodContext, wanted: Tensor) -> MethodContext:
    """Tuning for which the nearer outcomes are to those wanted, the better."""
    masks = context.ledger.masks
    return replace(context, tuning=Tuning(masks, lambda predicted: -float((predicted - wanted).abs().sum())))


def test_trak_takes_the_ridge_that_predicts_best(exact: MethodContext):
    single = exact.first(1)
    every = [gradients(single, single.states[0], examples) for examples in (single.train, single.test)]
    q = single.q(single.states[0]).numpy()
    for ridge in RIDGES:
        scores = primal_trak([every[0]], [every[1]], q, ridge)
        wanted = single.ledger.masks.double() @ torch.from_numpy(scores).T
        for method in ("trak", "trak_forward"):
            assert find_method(method).fit(with_wanted(single, wanted)).settings["ridge"] == ridge


# --- TRAK ----------------------------------------------------------------------------------------------------


def gradients(
    context: MethodContext, weights: dict[str, Tensor], examples: Examples, architecture: nn.Module | None = None
) -> np.ndarray:
    return loop_gradients(architecture or context.architecture, weights, examples.inputs, examples.targets).numpy()


def test_trak_is_its_formula_with_dense_matrices(exact: MethodContext):
    train, test = (
        [gradients(exact, weights, examples) for weights in exact.states] for examples in (exact.train, exact.test)
    )
    q = torch.stack([exact.q(weights) for weights in exact.states]).mean(0)
    expected = torch.from_numpy(primal_trak(train, test, q.numpy(), DEFAULT_RIDGE))
    scores = find_method("trak").fit(exact)
    torch.testing.assert_close(scores.block(EVERYTHING), expected, **CLOSE)
    assert scores.settings == {"ridge": DEFAULT_RIDGE}
    each = torch.stack(
        [
            torch.from_numpy(primal_trak([one], [other], q.numpy(), DEFAULT_RIDGE))
            for one, other in zip(train, test, strict=True)
        ]
    )
    torch.testing.assert_close(scores.standard_error(EVERYTHING), each.std(0) / N_MODELS**0.5, **CLOSE)


def test_the_threshold_draws_trak_towards_zero(exact: MethodContext):
    plain, scores = find_method("trak").fit(exact), find_method("trak_threshold").fit(exact)
    middle = float(plain.block(EVERYTHING).abs().median())
    assert scores.settings == {"ridge": DEFAULT_RIDGE, "threshold": pytest.approx(middle)}
    expected = soft_threshold(plain.block(EVERYTHING), middle)
    torch.testing.assert_close(scores.block(EVERYTHING), expected, **CLOSE)
    assert (scores.block(EVERYTHING) == 0).double().mean() == pytest.approx(0.5, abs=0.02)
    few = replace(find_method("trak").fit(exact.first(2)), threshold=scores.settings["threshold"])
    torch.testing.assert_close(scores.first(2).block(EVERYTHING), few.block(EVERYTHING), **CLOSE)


@pytest.mark.parametrize("share", trak.THRESHOLDS)
def test_the_threshold_that_predicts_best_is_taken(exact: MethodContext, share: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trak, "RIDGES", (DEFAULT_RIDGE,))
    plain = find_method("trak").fit(exact).block(EVERYTHING)
    threshold = share * float(plain.abs().median())
    wanted = exact.ledger.masks.double() @ soft_threshold(plain, threshold).T
    scores = find_method("trak_threshold").fit(with_wanted(exact, wanted))
    assert scores.settings == {"ridge": DEFAULT_RIDGE, "threshold": pytest.approx(threshold)}


def masked_versions(context: MethodContext, checkpoint: int) -> list[nn.Module]:
    return [trak._version(context, checkpoint, number).architecture for number in range(trak.N_MASKS)]


def scales(architecture: nn.Module, context: MethodContext) -> list[Tensor]:
    """What each Linear layer multiplies its inputs by, seen from outside."""
    found = []
    for at in (0, 2, 4):
        given: list[Tensor] = []
        # After the hook that switches units off.
        handle = architecture[at].register_forward_hook(lambda _, args, output, given=given: given.append(args[0]))
        before = context.train.inputs
        for module in architecture[:at]:
            before = module(before)
        given.clear()
        architecture(context.train.inputs)
        handle.remove()
        ratio = (given[0] / before).detach()
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))  # the same for every example
        found.append(ratio[0])
    return found


def test_dropout_switches_the_same_units_off_for_every_example_and_others_for_every_version(
    exact: MethodContext, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trak, "DROPOUT", 0.5)
    every = []
    for checkpoint in range(N_MODELS):
        for architecture in masked_versions(exact, checkpoint):
            first, *later = scales(architecture, exact)
            assert (first == 1).all()  # inputs are seen as they are
            every.append(torch.cat(later))
    assert len(every) == N_MODELS * trak.N_MASKS
    assert len({tuple((each > 1).tolist()) for each in every}) == len(every)
    values = torch.cat(every)
    assert torch.isclose(values, torch.full_like(values, 2)).logical_or(values == 0).all()
    assert 0.3 < float((values == 0).double().mean()) < 0.7
    again = [torch.cat(scales(architecture, exact)[1:]) for architecture in masked_versions(exact, 0)]
    assert all(torch.equal(one, other) for one, other in zip(every, again, strict=False))
    assert all(not module._forward_pre_hooks for module in exact.architecture.modules())


def dropout_parts(context: MethodContext) -> tuple[list[np.ndarray], list[np.ndarray], list[Tensor]]:
    """Gradients of train and test examples and q by loops, for every masked version of every checkpoint."""
    train, test, q = [], [], []
    for checkpoint, weights in enumerate(context.states):
        for architecture in masked_versions(context, checkpoint):
            train.append(gradients(context, weights, context.train, architecture))
            test.append(gradients(context, weights, context.test, architecture))
            q.append(replace(context, architecture=architecture).q(weights))
    return train, test, q


def test_the_dropout_ensemble_is_trak_over_its_masked_models(exact: MethodContext):
    train, test, q = dropout_parts(exact)
    mean_q = torch.stack(q).mean(0).numpy()
    scores = find_method("trak_dropout").fit(exact)
    expected = torch.from_numpy(primal_trak(train, test, mean_q, DEFAULT_RIDGE))
    torch.testing.assert_close(scores.block(EVERYTHING), expected, **CLOSE)
    n = trak.N_MASKS
    of_each = torch.stack(
        [
            torch.from_numpy(primal_trak(train[at : at + n], test[at : at + n], mean_q, DEFAULT_RIDGE))
            for at in range(0, len(train), n)
        ]
    )
    # Versions of one checkpoint are not independent: the error is that over checkpoints.
    torch.testing.assert_close(scores.standard_error(EVERYTHING), of_each.std(0) / N_MODELS**0.5, **CLOSE)
    assert scores.first(1).standard_error(EVERYTHING) is None


def test_the_forward_only_ensemble_takes_its_weights_alone_from_masked_models(exact: MethodContext):
    train, test = (
        [gradients(exact, weights, examples) for weights in exact.states] for examples in (exact.train, exact.test)
    )
    q = torch.stack(dropout_parts(exact)[2]).mean(0).numpy()
    scores = find_method("trak_forward").fit(exact)
    expected = torch.from_numpy(primal_trak(train, test, q, DEFAULT_RIDGE))
    torch.testing.assert_close(scores.block(EVERYTHING), expected, **CLOSE)


@pytest.mark.parametrize("name", ["trak_dropout", "trak_forward"])
def test_without_dropout_the_ensembles_are_trak(exact: MethodContext, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trak, "DROPOUT", 0.0)
    expected = find_method("trak").fit(exact)
    scores = find_method(name).fit(exact)
    torch.testing.assert_close(scores.block(EVERYTHING), expected.block(EVERYTHING), **CLOSE)
    torch.testing.assert_close(scores.self_influence(), expected.self_influence(), **CLOSE)
    torch.testing.assert_close(scores.standard_error(EVERYTHING), expected.standard_error(EVERYTHING), **CLOSE)


class Conv1D(nn.Module):
    """Hugging Face's Linear layer with its weight turned."""

    def __init__(self, n_out: int, n_in: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(n_in, n_out) * 0.5), nn.Parameter(torch.zeros(n_out))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight + self.bias


@pytest.mark.parametrize("name", ["trak_dropout", "trak_forward"])
def test_units_before_a_layer_with_its_weight_turned_are_switched_off_all_the_same(exact: MethodContext, name: str):
    turned = nn.Sequential(Conv1D(8, 5), nn.GELU(), Conv1D(6, 8), nn.Tanh(), Conv1D(3, 6))
    states = [
        {key: value.T.contiguous() if value.dim() > 1 else value for key, value in state.items()}
        for state in exact.states
    ]
    context = replace(exact, architecture=turned.double(), states=states, _sides=[])
    assert context.missing([Need.HIDDEN_UNITS, Need.EMBEDDINGS]) == []
    found, expected = (find_method(name).fit(each).block(EVERYTHING) for each in (context, exact))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


# --- plain products of gradients -----------------------------------------------------------------------------


def loop_of(context: MethodContext, weights: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of train and test examples by a loop, and q."""
    train, test = (torch.from_numpy(gradients(context, weights, part)) for part in (context.train, context.test))
    return train, test, context.q(weights)


def test_gradient_dot_is_the_mean_of_products_by_a_loop(exact: MethodContext):
    expected = [test @ (train * q[:, None]).T for train, test, q in (loop_of(exact, each) for each in exact.states)]
    scores = find_method("grad_dot").fit(exact).block(EVERYTHING)
    torch.testing.assert_close(scores, torch.stack(expected).mean(0), **CLOSE)


def test_gradient_cosine_is_the_product_of_directions(exact: MethodContext):
    expected = []
    for weights in exact.states:
        train, test, q = loop_of(exact, weights)
        assert (q > 0).all()  # of classification: the sign is always that of the cosine
        expected.append(nn.functional.normalize(test, dim=1) @ nn.functional.normalize(train, dim=1).T)
    scores = find_method("grad_cos").fit(exact).block(EVERYTHING)
    torch.testing.assert_close(scores, torch.stack(expected).mean(0), **CLOSE)
    assert scores.abs().max() <= 1


def test_a_gradient_of_zero_has_no_direction():
    torch.manual_seed(0)
    model = nn.Linear(5, 3, bias=False)
    train, test = torch.randn(6, 5), torch.randn(3, 5)
    train[2], test[1] = 0, 0
    examples = Examples(train, torch.arange(6) % 3), Examples(test, torch.arange(3))
    context = MethodContext(TASK, model, [model.state_dict()], *examples)
    scores = find_method("grad_cos").fit(context).block(EVERYTHING)
    assert scores.isfinite().all()
    assert not scores[1].any() and not scores[:, 2].any()


def test_tracin_is_the_sum_over_recorded_states_by_a_loop(exact: MethodContext):
    expected = []
    for log in exact.logs:
        total, n_steps = torch.zeros(N_TEST, N_TRAIN, dtype=torch.float64), log.schedule.n_steps
        rates = [SETTINGS.learning_rate * (1 - step / n_steps) for step in range(n_steps)]
        for before, moment in zip(log.moments, log.moments[1:], strict=False):
            train, test, q = loop_of(exact, moment.parameters)
            share = sum(rates[before.step : moment.step]) / (1 - SETTINGS.momentum)
            total += share * test @ (train * q[:, None]).T / N_TRAIN
        expected.append(total)
    scores = find_method("tracin").fit(exact)
    torch.testing.assert_close(scores.block(EVERYTHING), torch.stack(expected).mean(0), **CLOSE)
    error = torch.stack(expected).std(0) / N_MODELS**0.5
    torch.testing.assert_close(scores.standard_error(EVERYTHING), error, **CLOSE)


def test_gradient_norms_are_the_same_for_every_question(exact: MethodContext):
    expected = []
    for weights in exact.states:
        train, _, q = loop_of(exact, weights)
        expected.append(q.abs() * torch.linalg.norm(train, dim=1))
    scores = find_method("grad_norm").fit(exact).block(EVERYTHING)
    torch.testing.assert_close(scores, torch.stack(expected).mean(0).expand(N_TEST, -1), **CLOSE)
    assert (scores == scores[:1]).all()


# --- baselines -----------------------------------------------------------------------------------------------


def test_embedding_similarity_is_the_mean_cosine_of_what_the_last_layer_sees(exact: MethodContext):
    expected = []
    for weights in exact.states:
        train, test = (
            representations(exact.architecture, weights, part.inputs).numpy() for part in (exact.train, exact.test)
        )
        lengths = np.linalg.norm(test, axis=1)[:, None] * np.linalg.norm(train, axis=1)
        expected.append(test @ train.T / lengths)
    scores = find_method("embedding").fit(exact).block(EVERYTHING)
    torch.testing.assert_close(scores, torch.from_numpy(np.mean(expected, axis=0)), **CLOSE)


def test_nearest_neighbours_rank_the_asked_class_above_all_others_and_the_most_alike_first(exact: MethodContext):
    scores = find_method("nearest").fit(exact).block(EVERYTHING)
    alike = find_method("embedding").fit(exact).block(EVERYTHING)
    for row, cosine, asked in zip(scores, alike, exact.test.targets, strict=True):
        same = exact.train.targets == asked
        assert row[same].min() > row[~same].max()
        torch.testing.assert_close(row[same], 1 + cosine[same], **CLOSE)
        torch.testing.assert_close(row[~same], -1 - cosine[~same], **CLOSE)


def test_controls_are_one_number_for_each_train_example_whatever_the_question(exact: MethodContext):
    media = exact.train_media
    expected = {
        "grad_norm": find_method("grad_norm").fit(exact).self_influence(),
        "amount": torch.tensor([sum(map(float, one[0].text.split(","))) for one in media]),
        "target_value": exact.train.targets,
    }
    for name, values in expected.items():
        rows = find_method(name).fit(exact).block(EVERYTHING)
        torch.testing.assert_close(rows, values.to(rows).expand(N_TEST, -1))


@pytest.mark.parametrize("name", ["grad_norm", "amount", "target_value"])
def test_whether_more_of_a_control_helps_is_chosen_on_the_tuning_subsets(exact: MethodContext, name: str):
    plain = find_method(name).fit(exact).block(EVERYTHING)
    for sign in (1.0, -1.0):
        centred = plain - plain.mean(1, keepdim=True)
        scores = find_method(name).fit(with_wanted(exact, exact.ledger.masks.to(plain) @ (sign * centred).T))
        assert scores.settings == {"sign": sign}
        torch.testing.assert_close(scores.block(EVERYTHING), sign * plain)


def test_similarity_of_inputs_is_their_cosine(exact: MethodContext):
    scores = find_method("input_similarity").fit(exact).block(EVERYTHING)
    expected = torch.nn.functional.normalize(exact.test.inputs) @ torch.nn.functional.normalize(exact.train.inputs).T
    torch.testing.assert_close(scores, expected.float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_bytes", [8, 300])
def test_amounts_are_lengths_of_texts_and_ink_of_pictures(n_bytes: int):
    pixels = np.linspace(0, 255, n_bytes).astype(np.uint8).reshape(1, 1, -1, 1).repeat(2, axis=1)
    image = find_modality("image")
    assert image.amount(image.media(pixels)) == pytest.approx(pixels.mean() / 255, abs=1e-4)
    assert image.amount(image.media(np.full((2, 4, 4, 1), 255, np.uint8))).tolist() == [1.0, 1.0]
    assert find_modality("text").amount([(Text("x" * n_bytes),), (Text(""),)]).tolist() == [n_bytes, 0]
    assert find_modality("text").amount([(Text("ab"), Text("cde", name="question"))]).tolist() == [5]
    assert find_modality("numbers").amount([(Text("1.5, -2.0, 4.0"),)]).tolist() == [3.5]
    assert find_modality("image").amount([()]).tolist() == [0]


@pytest.mark.parametrize(
    ("peak", "tried_at_last"),
    [
        (1.0, (0.1, 10.0)),
        (0.1, (0.01, 10.0)),
        (0.03, (0.01, 10.0)),
        (40.0, (0.1, 100.0)),
        (1e9, (0.1, 1000.0)),
        (1e-9, (0.01, 10.0)),
    ],
)
def test_the_grid_of_ridges_widens_until_its_best_is_inside_or_it_ends(peak: float, tried_at_last: tuple[float, float]):
    asked: list[float] = []

    def qualities(ridges: Sequence[float]) -> dict[float, float]:
        asked.extend(ridges)
        return {ridge: -abs(math.log(ridge / peak)) for ridge in ridges}

    found = trak.widened(RIDGES, qualities)
    assert sorted(found) == sorted(asked) == sorted(set(asked))
    assert (min(found), max(found)) == tried_at_last
    ratios = np.diff(np.log10(sorted(found)))
    assert ((0.29 < ratios) & (ratios < 0.41)).all()


def test_a_grid_whose_qualities_are_undefined_stays_as_it_is():
    assert set(trak.widened(RIDGES, lambda ridges: dict.fromkeys(ridges, math.nan))) == set(RIDGES)


def test_random_scores_and_class_scores_are_what_they_say(context: MethodContext, fitted: dict[str, Scores]):
    random = fitted["random"].block(EVERYTHING)
    assert abs(float(random.mean())) < 0.3 and 0.8 < float(random.std()) < 1.2
    same = fitted["same_class"].block(EVERYTHING)
    assert torch.equal(same == 1, context.test.targets[:, None] == context.train.targets)
    assert set(same.unique().tolist()) <= {0.0, 1.0}


# --- how scores are put together -----------------------------------------------------------------------------


def a_term(seed: int, own: bool = True) -> Term:
    generator = torch.Generator().manual_seed(derive_seed(seed, "term") % 2**31)
    query, train = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (N_TEST, N_TRAIN))
    weight = torch.rand(N_TRAIN, generator=generator, dtype=torch.float64)
    return Term(query, train, weight, own=(train**2).sum(1) if own else None)


def test_a_mean_of_products_and_a_product_of_means_are_told_apart():
    terms = [a_term(seed) for seed in range(3)]
    products, weights = [term.query @ term.train.T for term in terms], [term.weight for term in terms]
    apart = ProductScores(terms).block(EVERYTHING)
    scores, _ = average_trak(Kernels(Given, 3), lambda index: [products[index]], 1.0, torch.stack(weights), N_TEST)
    together = scores.block(EVERYTHING)
    torch.testing.assert_close(apart, sum(p * w for p, w in zip(products, weights, strict=True)) / 3)
    torch.testing.assert_close(together, sum(products) / 3 * (sum(weights) / 3))
    shrunk = replace(scores, threshold=0.5).block(EVERYTHING)
    torch.testing.assert_close(shrunk, together.sign() * (together.abs() - 0.5).clamp_min(0))


class Given:
    """Stands for a kernel: the attributions are what is read."""

    n_bytes = 0

    def __init__(self, index: int) -> None:
        self.own = torch.full((N_TRAIN,), 0.1 * index, dtype=torch.float64)

    def read(self, rows: Iterable[Tensor]) -> Tensor:
        return torch.cat(list(rows))

    def attribute(self, test: Tensor, ridge: float) -> Tensor:
        return test

    def leverages(self, ridge: float) -> Tensor:
        return self.own


def test_averages_over_checkpoints_keep_nothing_but_sums_and_say_what_fewer_give():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(6, N_TEST + 2, N_TRAIN, generator=generator, dtype=torch.float64)
    q = torch.rand(6, N_TRAIN, generator=generator, dtype=torch.float64)
    scores, further = average_trak(Kernels(Given, 6), lambda index: rows[index].split(4), 1.0, q, N_TEST)
    found = rows[:, :N_TEST]
    torch.testing.assert_close(further, rows[:, N_TEST:].mean(0) * q.mean(0), **CLOSE)
    torch.testing.assert_close(scores.self_influence(), 0.25 * q.mean(0), **CLOSE)
    for n in (1, 2, 5, 6):
        few = scores.first(n)
        torch.testing.assert_close(few.block(EVERYTHING), found[:n].mean(0) * q[:n].mean(0), **CLOSE)
        if n > 1:
            error = found[:n].std(0) / n**0.5 * q[:n].mean(0)
            torch.testing.assert_close(few.standard_error(EVERYTHING), error, **CLOSE)
    with pytest.raises(InvalidSettingError, match="n_checkpoints=3; scores are kept of the first 1, 2, 5, 6 check"):
        scores.first(3)


def test_the_standard_error_over_two_checkpoints_is_half_their_distance():
    terms = [a_term(0), a_term(1)]
    one, other = (ProductScores([term]).block(EVERYTHING) for term in terms)
    scores = ProductScores(terms)
    torch.testing.assert_close(scores.standard_error(EVERYTHING), (one - other).abs() / 2)
    matrix = ScoreMatrix.mean([one, other])
    torch.testing.assert_close(matrix.standard_error(EVERYTHING), scores.standard_error(EVERYTHING))
    torch.testing.assert_close(matrix.block(EVERYTHING), scores.block(EVERYTHING))
    assert ProductScores([a_term(0, own=False)]).self_influence() is None
