"""Every method of the registry for a person's own model: `Attributor` gives what the method itself gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trak_core as tc
from tests.benchmarks import digits_cnn
from tests.oracles import backward_gradients, primal_trak
from tests.subjects import N_CLASSES, N_TEST, N_TRAIN, TEST, TRAIN, make_attributor, make_checkpoints, make_net
from trak_core.engine import fitted as fitted_module
from trak_core.errors import (
    InvalidDataError,
    InvalidSettingError,
    LabelError,
    NeedNotMetError,
    OutOfMemoryError,
)
from trak_core.evidence.verification import verify
from trak_core.gradients import Inputs, run_model
from trak_core.inputs import to_device
from trak_core.methods import METHODS, Examples, MethodContext, Need
from trak_core.tasks import Classification

MET = {
    Need.CHECKPOINTS,
    Need.CLASSES,
    Need.LOSS,
    Need.EMBEDDINGS,
    Need.SMALL_MODEL,
    Need.MATRIX_LAYERS,
    Need.HIDDEN_UNITS,
    Need.PEFT,
    Need.BM25S,
    Need.GRADIENT_ROWS,
}
"""What checkpoints of a small classifier supply, and libraries."""
TO_BE_HAD = [name for name, method in METHODS.items() if set(method.info.needs) <= MET]
# torch's own, when it takes its first forward derivative.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def distance(left: np.ndarray, right: np.ndarray) -> float:
    """Largest difference relative to the largest number."""
    return float(np.abs(left - right).max() / np.abs(right).max())


def doubled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in state.items()}


def context_of(n_checkpoints: int = 2, test: tuple[Tensor, Tensor] = TEST) -> MethodContext:
    """The small network with dropout and BatchNorm, its statistics from each checkpoint."""
    return MethodContext(
        Classification(),
        make_net().double().eval(),
        [doubled(state) for state in make_checkpoints(n_checkpoints)],
        Examples(TRAIN[0].double(), TRAIN[1]),
        Examples(test[0].double(), test[1]),
    )


def plain_scores(name: str, context: MethodContext) -> np.ndarray:
    limit = METHODS[name].info.max_checkpoints
    scores = METHODS[name].fit(context if limit is None else context.first(limit))
    return torch.cat(list(scores.blocks())).numpy()


# --- what is given -------------------------------------------------------------------------------------------


def test_the_methods_that_checkpoints_alone_supply():
    assert TO_BE_HAD == [
        "trak",
        "trak_threshold",
        "trak_dropout",
        "trak_forward",
        "lora_ensemble",
        "influence_exact",
        "influence_cg",
        "influence_fisher",
        "influence_ekfac",
        "logra",
        "grad_dot",
        "grad_cos",
        "trackstar",
        "embedding",
        "nearest",
        "grad_norm",
        "same_class",
        "random",
    ]


@pytest.mark.parametrize("name", TO_BE_HAD)
def test_scores_are_those_of_the_method_on_the_same_checkpoints(name):
    attributor = make_attributor(2, method=name).fit(TRAIN)
    scores = attributor.score(TEST)
    assert scores.shape == (N_TEST, N_TRAIN) and scores.dtype == np.float32
    assert distance(scores, plain_scores(name, context_of())) < 1e-6  # scores are rounded to float32
    best = attributor.proponents(TEST, 3)
    np.testing.assert_array_equal(
        best["train_idx"].to_numpy().reshape(-1, 3), np.argsort(-scores, axis=1, kind="stable")[:, :3]
    )


@pytest.mark.parametrize("name", ["trak_dropout", "influence_ekfac", "nearest"])
def test_blocks_and_batches_change_nothing(name, monkeypatch):
    straight = make_attributor(2, method=name).fit(TRAIN).score(TEST)
    monkeypatch.setattr(fitted_module, "BLOCK", 8)
    batches = [tuple(part[where] for part in TRAIN) for where in (slice(9), slice(9, None))]
    attributor = make_attributor(2, method=name, batch_size=5).fit(batches)
    assert distance(np.concatenate(list(attributor.iter_scores(TEST))), straight) < 1e-6


def test_any_class_can_be_asked_about_and_the_models_own_answer_is_by_default():
    targets = (TEST[1] + 1) % N_CLASSES
    attributor = make_attributor(2, method="grad_dot").fit(TRAIN)
    expected = plain_scores("grad_dot", context_of(test=(TEST[0], targets)))
    assert distance(attributor.score(TEST, targets=targets), expected) < 1e-6
    trak = make_attributor(2).fit(TRAIN)
    answers = torch.stack([trak.fitted.answer(block).value for block in fitted_module.Data(TEST, "test").blocks(100)])
    np.testing.assert_array_equal(attributor.score(TEST[0]), attributor.score((TEST[0], answers[0])))


def test_statistics_of_batchnorm_are_those_of_each_checkpoint():
    first, second = make_checkpoints(1)[0], make_checkpoints(1)[0]
    second = {name: value + 0.5 if name.endswith("running_mean") else value for name, value in second.items()}
    of_both = [
        tc.Attributor(make_net(), checkpoints=[state], method=name, progress=False).fit(TRAIN).score(TEST)
        for name in ("trak", "influence_ekfac", "grad_dot")
        for state in (first, second)
    ]
    for one, other in zip(of_both[::2], of_both[1::2], strict=True):
        assert distance(one, other) > 0.01


def test_a_ridge_and_a_projection_are_settings_of_all_forms_of_trak():
    attributor = make_attributor(2, method="trak_forward", ridge=0.5, proj_dim=32).fit(TRAIN)
    assert attributor.plan.proj_dim == 32
    assert distance(attributor.score(TEST, ridge=2.0), attributor.score(TEST)) > 0.01
    whole = make_attributor(2, method="trak_forward", ridge=0.5).fit(TRAIN)
    assert distance(attributor.score(TEST), whole.score(TEST)) > 0.01


def test_only_selected_parameters_count():
    attributor = make_attributor(1, method="grad_dot", parameters="fc2.*").fit(TRAIN)
    net = make_net()
    net.load_state_dict(make_checkpoints(1)[0])
    net = net.double().eval()
    train, test = (
        backward_gradients(net, Classification(), inputs.double(), labels)["fc2"] for inputs, labels in (TRAIN, TEST)
    )
    with torch.no_grad():
        q = 1 - net(TRAIN[0].double()).softmax(1)[torch.arange(N_TRAIN), TRAIN[1]]
    assert distance(attributor.score(TEST), (test @ train.T * q).numpy()) < 1e-6


# --- inputs in every form ------------------------------------------------------------------------------------


class Two(nn.Module):
    """Takes two inputs by position or by name, and has BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(3, 6)
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.first(left) + self.second(right))))


def two_inputs(n: int, seed: int, form: Callable[[Tensor, Tensor], Inputs]) -> tuple[Inputs, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(n, 4, generator=generator), torch.randn(n, 3, generator=generator)
    return form(left, right), torch.randint(3, (n,), generator=generator)


def given(inputs: Inputs, labels: Tensor) -> Any:
    """As a loader gives it."""
    return {**inputs, "labels": labels} if isinstance(inputs, dict) else (*inputs, labels)


@pytest.mark.parametrize("form", [lambda a, b: (a, b), lambda a, b: {"left": a, "right": b}], ids=["tuple", "dict"])
@pytest.mark.parametrize("name", ["trak", "influence_ekfac", "grad_dot", "embedding", "influence_cg"])
def test_inputs_may_be_a_tuple_or_a_dict(name, form):
    torch.manual_seed(0)
    model = Two()
    model(*two_inputs(30, 0, lambda a, b: (a, b))[0])  # statistics of its own
    model = model.double().eval()
    (train, labels), (test, targets) = two_inputs(20, 1, form), two_inputs(5, 2, form)
    attributor = tc.Attributor(model, method=name, precision="float64", progress=False).fit(given(train, labels))
    scores = attributor.score(given(test, targets))
    double = [to_device(inputs, "cpu", torch.float64) for inputs in (train, test)]
    task, state = Classification(), model.state_dict()
    context = MethodContext(task, model, [state], Examples(double[0], labels), Examples(double[1], targets))
    assert distance(scores, plain_scores(name, context)) < 1e-6
    if name in ("trak", "grad_dot"):
        rows = [
            torch.cat([*backward_gradients(model, task, inputs, asked).values()], dim=1).numpy()
            for inputs, asked in zip(double, (labels, targets), strict=True)
        ]
        q = task.out_to_loss(run_model(model, state, double[0]), labels).detach().numpy()
        expected = primal_trak([rows[0]], [rows[1]], q, 3.0) if name == "trak" else rows[1] @ rows[0].T * q
        assert distance(scores, expected) < 1e-6


def test_texts_of_different_lengths_are_refused_by_a_method_that_takes_all_at_once():
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(20, 6), nn.Linear(6, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.out(self.words(tokens).mean(1))

    batches = [(torch.randint(20, (4, length)), torch.arange(4) % 2) for length in (3, 5)]
    tc.Attributor(Bag(), "text_classification", progress=False).fit(batches)
    with pytest.raises(InvalidDataError, match=r"batches of different lengths, and method 'grad_dot'.*pad them"):
        tc.Attributor(Bag(), "text_classification", method="grad_dot", progress=False).fit(batches)


# --- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in METHODS if name not in TO_BE_HAD])
def test_a_method_whose_needs_are_not_met_is_refused_before_anything_is_computed(name):
    with pytest.raises(NeedNotMetError, match=rf"method '{name}' needs .*; .*(build|same_class)"):
        make_attributor(method=name)


def test_a_regression_has_no_classes_to_compare():
    with pytest.raises(NeedNotMetError, match="'same_class' needs classes to choose from, and has none here; use trak"):
        tc.Attributor(nn.Linear(4, 1), "regression", method="same_class")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ridge": 1.0}, "ridge is given, but method 'grad_dot' has no such setting; leave it out"),
        ({"proj_dim": 32}, "proj_dim is given"),
        ({"projection": "sjlt"}, "projection='sjlt' is given"),
        ({"store": "somewhere"}, "store is given"),
    ],
)
def test_settings_that_a_method_does_not_have_are_refused(settings, message):
    with pytest.raises(InvalidSettingError, match=message):
        make_attributor(method="grad_dot", **settings)
    with pytest.raises(InvalidSettingError, match=r"ridge=2\.0: method 'grad_dot' has none"):
        make_attributor(method="grad_dot").fit(TRAIN).score(TEST, ridge=2.0)


def test_train_examples_that_do_not_fit_into_the_budget_are_refused():
    images = torch.zeros(2**21, 1, 6, 6).expand(2**21, 1, 6, 6)
    attributor = make_attributor(1, method="same_class", precision="float32", memory_budget=2**24)
    with pytest.raises(OutOfMemoryError, match=r"'same_class' holds all train examples .*memory_budget=16,777,216"):
        attributor.fit((images[:150_000], torch.zeros(150_000, dtype=torch.int64)))


def test_gradients_that_do_not_fit_into_the_budget_are_refused_before_they_are_computed():
    layers = (nn.Linear(36, 320), nn.Tanh(), nn.Linear(320, 320), nn.Tanh(), nn.Linear(320, N_CLASSES))
    wide = nn.Sequential(nn.Flatten(), *layers)
    attributor = tc.Attributor(wide, method="influence_cg", memory_budget=2**24, progress=False)
    with pytest.raises(
        OutOfMemoryError, match="gradients of 37 train and 0 test examples in memory, 17 MB at 1 checkpoi"
    ):
        attributor.fit(TRAIN)
    attributor = tc.Attributor(wide, method="influence_ekfac", memory_budget=2**24, progress=False).fit(TRAIN)
    with pytest.raises(
        OutOfMemoryError, match="gradients of 37 train and 37 test examples in memory, 17 MB at 1 checkp"
    ):
        attributor.score(TRAIN)
    assert attributor.score(TEST).shape == (N_TEST, N_TRAIN)


def test_a_label_out_of_range_is_refused_wherever_it_stands():
    labels = TRAIN[1].clone()
    labels[30] = N_CLASSES
    with pytest.raises(LabelError, match="label 4 of example 30 is out of range"):
        make_attributor(method="grad_dot").fit((TRAIN[0], labels))
    with pytest.raises(LabelError, match="of example 2 is out of range"):
        make_attributor(method="grad_dot").fit(TRAIN).score(TEST, targets=[0, 1, 7] + [0] * (N_TEST - 3))


# --- self-influence, calibration, runs -----------------------------------------------------------------------


@pytest.mark.parametrize("name", TO_BE_HAD)
def test_self_influence_is_the_score_of_an_example_for_itself_or_a_sentence(name):
    attributor = make_attributor(2, method=name).fit(TRAIN)
    if name in ("influence_cg", "grad_cos", "trackstar", "embedding", "nearest", "same_class", "random"):
        with pytest.raises(NeedNotMetError, match=f"method '{name}' gives no scores of train examples for themselves"):
            attributor.self_influence()
        return
    own = attributor.self_influence()
    if name == "trak_threshold":  # the threshold is relative to the scores of the test examples
        attributor.score(TRAIN)
        own = attributor.self_influence()
    np.testing.assert_allclose(own, attributor.score(TRAIN).diagonal(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["grad_dot", "trak_forward"])
def test_calibration_brings_scores_of_any_method_to_the_unit_of_outcomes(name):
    settings = {"ridge": 2.0} if name == "trak_forward" else {}  # among the candidates
    attributor = make_attributor(2, method=name, **settings).fit(TRAIN)
    plain = attributor.score(TEST)
    masks = np.random.default_rng(0).uniform(size=(60, N_TRAIN)) < 0.5
    found = attributor.calibrate(TEST, masks, 7.0 * masks @ plain.T)
    assert found.factor == pytest.approx(7.0, rel=1e-3)
    assert found.lds == pytest.approx(1.0)
    assert (found.ridge is None) == (name == "grad_dot") == (not found.lds_by_ridge)
    np.testing.assert_allclose(attributor.score(TEST), found.factor * plain, rtol=1e-3, atol=1e-6 * np.abs(plain).max())


@pytest.mark.parametrize("targets", ["auto", "all"])
def test_a_saved_run_holds_the_scores_of_its_method(targets, tmp_path):
    attributor = make_attributor(2, method="grad_dot", precision="float32").fit(TRAIN)
    attributor.save(tmp_path / "mine", TRAIN, TEST, ["ant", "bee", "cat", "dog"], targets=targets)
    with tc.open_run(tmp_path / "mine") as run:
        assert {check.name: check.detail for check in verify(run) if not check.ok} == {}
        assert run.info.method == "grad_dot"
        np.testing.assert_array_equal(run.scores(), attributor.score(TEST))
        assert run.explains_targets("grad_dot") == (targets == "all")
        if targets == "all":
            asked = (int(TEST[1][5]) + 1) % N_CLASSES
            expected = attributor.score((TEST[0], None), targets=np.full(N_TEST, asked))[5]
            np.testing.assert_allclose(
                run.score_row(5, target=run.target_of_class(5, asked)), expected, rtol=1e-4, atol=1e-7
            )


# --- real checkpoints ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not digits_cnn.is_available(), reason="the reference run does not lie beside the repository")
@pytest.mark.parametrize("name", ["trak", "influence_ekfac"])
def test_real_checkpoints_get_the_scores_of_the_method(name):
    run, n_train = digits_cnn.load_digits_cnn(), 1437 if name == "trak" else 300
    train = run.train_inputs[:n_train], run.train_labels[:n_train]
    test = run.test_inputs[:40], run.test_labels[:40]
    attributor = tc.Attributor(digits_cnn.make_model(), checkpoints=run.checkpoints, method=name, progress=False)
    scores = attributor.fit(train).score(test)
    context = MethodContext(
        Classification(), digits_cnn.make_model(), run.checkpoints, Examples(*train), Examples(*test)
    )
    assert distance(scores, plain_scores(name, context)) < 1e-4
    if name == "trak":
        assert digits_cnn.lds(scores, run.masks, run.margins[0][:, :40]) > 0.25
