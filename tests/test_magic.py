"""MAGIC against what it is the derivative of: real training with one example weighted a little more or less."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.test_training import N_TRAIN, SETTINGS, TASK, data, make_model
from trak_core.errors import RunMismatchError
from trak_core.gradients import run_model
from trak_core.methods import Examples, MethodContext, find_method, magic
from trak_core.methods.magic import magic_scores
from trak_core.training import TrainingLog, TrainingSettings, train_recorded, train_reweighted

# torch's own, when it takes its first forward derivative.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
SEEDS = [31, 32]
EPSILON = 1e-4
LONG = replace(SETTINGS, epochs=11, learning_rate=0.1)
"""44 steps, so that there are 7 or 8 between recorded states."""


def with_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 3, bias=False)).double()


def of_images() -> nn.Module:
    image = (nn.ConstantPad1d((0, 1), 0.5), nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 2))
    return nn.Sequential(*image, nn.GELU(), nn.Flatten(), nn.Linear(6, 3)).double()


def queries() -> Examples:
    generator = torch.Generator().manual_seed(9)
    return Examples(torch.randn(4, 5, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 1]))


def material_of(
    make: Callable[[], nn.Module] = make_model, settings: TrainingSettings = SETTINGS, n_logs: int = 1
) -> MethodContext:
    inputs, labels = data()
    trained = train_recorded(make, TASK, inputs, labels, SEEDS[:n_logs], settings)
    states = [trained.ensemble.state_dict(index) for index in range(n_logs)]
    train = Examples(inputs, labels)
    architecture = trained.ensemble.architecture
    return MethodContext(TASK, architecture, states, train, queries(), logs=trained.logs)


def differences(make: Callable[[], nn.Module], settings: TrainingSettings) -> Tensor:
    """Central differences `[n_test, n_train]` of the margins in the weight of each train example, all retrained."""
    weights = np.ones((2 * N_TRAIN, N_TRAIN))
    weights[:N_TRAIN] += EPSILON * np.eye(N_TRAIN)
    weights[N_TRAIN:] -= EPSILON * np.eye(N_TRAIN)
    ensemble = train_reweighted(make, TASK, *data(), weights, [SEEDS[0]] * len(weights), settings)
    test = queries()
    margins = TASK.model_output(ensemble.outputs(TASK, test.inputs), test.targets.expand(len(weights), -1))
    return (margins[:N_TRAIN] - margins[N_TRAIN:]).T / (2 * EPSILON)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (make_model, SETTINGS),
        (make_model, LONG),
        (make_model, replace(SETTINGS, momentum=0.0, weight_decay=0.0)),
        (make_model, replace(SETTINGS, batch_size=N_TRAIN, epochs=7)),
        (with_norm, SETTINGS),
        (of_images, SETTINGS),
    ],
    ids=["momentum and decay", "longer", "plain", "whole batches", "LayerNorm", "convolution"],
)
def test_scores_are_the_derivatives_of_real_retraining(make: Callable[[], nn.Module], settings: TrainingSettings):
    context = material_of(make, settings)
    scores = magic_scores(context, context.logs[0])
    expected = differences(make, settings)
    # Central differences are wrong by EPSILON^2 times the third derivative.
    assert (scores - expected).abs().max() < 1e-6 * expected.abs().max()


def test_the_derivative_predicts_what_leaving_an_example_out_does():
    context = material_of()
    scores = magic_scores(context, context.logs[0])
    weights = (1 - np.eye(N_TRAIN)).astype(np.float32)
    left_out = train_reweighted(make_model, TASK, *data(), weights, [SEEDS[0]] * N_TRAIN, SETTINGS)
    test = queries()
    margins = TASK.model_output(left_out.outputs(TASK, test.inputs), test.targets.expand(N_TRAIN, -1)).T
    whole = TASK.model_output(run_model(context.architecture, context.states[0], test.inputs).detach(), test.targets)
    actual = whole[:, None] - margins
    for predicted, found in zip(scores, actual, strict=True):
        assert torch.corrcoef(torch.stack([predicted, found]))[0, 1] > 0.9


def test_little_memory_takes_more_steps_and_gives_the_same_scores(monkeypatch: pytest.MonkeyPatch):
    context = material_of(settings=LONG)
    steps: list[int] = []
    plain = magic.sgd_step
    monkeypatch.setattr(magic, "sgd_step", lambda *args: steps.append(1) or plain(*args))
    expected = magic_scores(context, context.logs[0])
    assert len(steps) == 44  # each step replayed once
    one_state = sum(value.numel() * 8 for value in context.states[0].values())
    for memory in (1, 6 * one_state):  # two states at once, and three
        steps.clear()
        scores = magic_scores(replace(context, memory=memory), context.logs[0])
        assert len(steps) >= 88
        assert (scores - expected).abs().max() < 1e-10 * expected.abs().max()


def test_single_precision_is_enough():
    inputs, labels = data()
    context = material_of()

    def make() -> nn.Module:
        return make_model().float()

    # Other initial weights would be other scores: torch draws them in single precision either way.
    trained = train_recorded(make, TASK, inputs.float(), labels, SEEDS[:1], SETTINGS)
    test = queries()
    single = replace(
        context,
        architecture=trained.ensemble.architecture,
        train=Examples(inputs.float(), labels),
        test=Examples(test.inputs.float(), test.targets),
        logs=trained.logs,
    )
    expected = magic_scores(context, context.logs[0])
    scores = magic_scores(single, single.logs[0])
    assert scores.dtype == torch.float32
    assert (scores - expected).abs().max() < 1e-3 * expected.abs().max()


def test_a_replay_of_other_data_or_settings_is_refused():
    context = material_of()
    log, train = context.logs[0], context.train
    others = {
        "inputs": (replace(context, train=Examples(train.inputs + 0.5, train.targets)), log),
        "labels": (replace(context, train=Examples(train.inputs, train.targets.roll(1))), log),
        "batches": (context, replace(log, seed=log.seed + 1)),
    }
    for name, value in {"learning_rate": 0.4, "momentum": 0.5, "weight_decay": 0.5}.items():
        settings = replace(log.schedule.settings, **{name: value})
        others[name] = (context, replace(log, schedule=replace(log.schedule, settings=settings)))
    for changed, its_log in others.values():
        with pytest.raises(RunMismatchError, match=r"replaying .* lower the learning rate and build the run again"):
            magic_scores(changed, its_log)
    broken = replace(context, train=Examples(train.inputs * torch.nan, train.targets))
    with pytest.raises(RunMismatchError, match="by nan of the largest"):
        magic_scores(broken, log)


def test_scores_of_several_runs_are_averaged_with_their_standard_error():
    context = material_of(n_logs=2)
    first, second = (magic_scores(context, log) for log in context.logs)
    scores = find_method("magic").fit(context)
    everything = slice(None)
    assert scores.n_checkpoints == 2
    torch.testing.assert_close(scores.block(everything), (first + second) / 2)
    errors = scores.standard_error(slice(1, 3))
    torch.testing.assert_close(errors, ((first - second).abs() / 2)[1:3])
    alone = scores.first(1)
    assert alone.n_checkpoints == 1 and alone.standard_error(everything) is None
    assert torch.equal(alone.block(everything), first)
    assert torch.equal(find_method("magic").fit(context.first(1)).block(everything), first)


def test_queries_other_than_the_test_examples_can_be_asked_about():
    context = material_of()
    log: TrainingLog = context.logs[0]
    some = Examples(context.train.inputs[:3], context.train.targets[:3])
    scores = magic_scores(context, log, some)
    torch.testing.assert_close(scores, magic_scores(replace(context, test=some), log))
    assert (scores.diagonal() > 0).all()  # more weight on an example raises its own margin
