"""What training leaves behind, and training with other weights of examples, against torch's optimizer step by step."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.test_training import N_TRAIN, SETTINGS, TASK, data, make_model
from trak_core.errors import RunMismatchError, TrainingDivergedError
from trak_core.training import (
    Ensemble,
    Schedule,
    TrainingLog,
    diverged,
    draw_half_subsets,
    recorded_steps,
    train_ensemble,
    train_recorded,
    train_reweighted,
)
from trak_core.training.ensemble import make_models

SEEDS = [21, 22, 23]
SCHEDULE = Schedule(SETTINGS, N_TRAIN)
# float64: torch's optimizer sums in another order.
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
State = dict[str, Tensor]


def states_by_hand(seed: int, weights: Tensor | None = None) -> Iterator[tuple[State, State]]:
    """Weights and momentum of one model before every step and after the last, by `torch.optim.SGD`.

    Examples of weight 0 are left out of their batches, whose loss is still divided by the full size of a batch.
    """
    inputs, labels = data()
    weights = torch.ones(N_TRAIN, dtype=torch.float64) if weights is None else weights
    model = make_models(make_model, [seed])[0]
    optimizer = torch.optim.SGD(model.parameters(), momentum=SETTINGS.momentum, weight_decay=SETTINGS.weight_decay)

    def state() -> tuple[State, State]:
        momentum = {
            name: optimizer.state[value].get("momentum_buffer", torch.zeros_like(value)).detach().clone()
            for name, value in model.named_parameters()
        }
        return {name: value.detach().clone() for name, value in model.named_parameters()}, momentum

    batches = SCHEDULE.batches(seed)
    for step, batch in enumerate(batches):
        yield state()
        batch = batch[weights[batch] != 0]
        optimizer.param_groups[0]["lr"] = SETTINGS.learning_rate * (1 - step / len(batches))
        optimizer.zero_grad()
        losses = TASK.loss(model(inputs[batch]), labels[batch]) * weights[batch]
        (losses.sum() / SETTINGS.batch_size).backward()
        optimizer.step()
    yield state()


def recorded(seeds: list[int] = SEEDS) -> tuple[Ensemble, list[TrainingLog]]:
    trained = train_recorded(make_model, TASK, *data(), seeds, SETTINGS)
    return trained.ensemble, trained.logs


def assert_states_close(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **CLOSE)


def test_recorded_moments_are_the_states_of_torch_sgd_before_their_steps():
    _, logs = recorded()
    for seed, log in zip(SEEDS, logs, strict=True):
        by_hand = list(states_by_hand(seed))
        assert [moment.step for moment in log.moments] == [0, 2, 4, 6, 8, 10, 12] == recorded_steps(SCHEDULE)
        for moment in log.moments:
            weights, momentum = by_hand[moment.step]
            assert_states_close(moment.parameters, weights)
            assert_states_close(moment.velocities, momentum)


def test_the_first_moment_is_the_fresh_model_and_the_last_the_trained_one():
    ensemble, logs = recorded()
    for index, (seed, log) in enumerate(zip(SEEDS, logs, strict=True)):
        assert log.seed == seed and torch.equal(log.batches(), SCHEDULE.batches(seed))
        fresh = dict(make_models(make_model, [seed])[0].named_parameters())
        for name, value in ensemble.state_dict(index).items():
            assert torch.equal(log.moments[0].parameters[name], fresh[name].detach())
            assert torch.equal(log.moments[-1].parameters[name], value)
        assert not any(value.any() for value in log.moments[0].velocities.values())


def test_recorded_models_are_those_that_are_trained_on_everything():
    ensemble, _ = recorded()
    everything = np.ones((len(SEEDS), N_TRAIN), dtype=bool)
    plain = train_ensemble(make_model, TASK, *data(), everything, SEEDS, SETTINGS)
    for name, value in plain.parameters.items():
        assert torch.equal(ensemble.parameters[name], value)


def test_a_log_does_not_depend_on_the_models_trained_alongside():
    _, together = recorded()
    _, alone = recorded(SEEDS[1:2])
    for one, other in zip(together[1].moments, alone[0].moments, strict=True):
        assert_states_close(one.parameters, other.parameters)
        assert_states_close(one.velocities, other.velocities)


@pytest.mark.parametrize(("epochs", "steps"), [(1, [0, 1, 2, 3, 4]), (6, [0, 4, 8, 12, 16, 20, 24])])
def test_each_state_of_a_short_run_is_recorded_once(epochs: int, steps: list[int]):
    assert recorded_steps(Schedule(replace(SETTINGS, epochs=epochs), N_TRAIN)) == steps


def test_a_saved_log_comes_back_to_the_last_bit(tmp_path: Path):
    _, logs = recorded()
    logs[1].save(tmp_path / "log.safetensors")
    loaded = TrainingLog.load(tmp_path / "log.safetensors", SEEDS[1], SCHEDULE)
    assert (loaded.seed, loaded.schedule) == (logs[1].seed, logs[1].schedule)
    assert torch.equal(loaded.batches(), logs[1].batches())
    for one, other in zip(loaded.moments, logs[1].moments, strict=True):
        assert one.step == other.step
        for found, expected in ((one.parameters, other.parameters), (one.velocities, other.velocities)):
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_log_that_is_missing_or_of_another_schedule_is_refused(tmp_path: Path):
    path = tmp_path / "log.safetensors"
    with pytest.raises(RunMismatchError, match=r"log\.safetensors is missing; build the run again"):
        TrainingLog.load(path, SEEDS[0], SCHEDULE)
    recorded()[1][0].save(path)
    longer = Schedule(replace(SETTINGS, epochs=4), N_TRAIN)
    with pytest.raises(RunMismatchError, match=r"before steps \[0, 2, .*these settings record \[0, 3, .*16\]"):
        TrainingLog.load(path, SEEDS[0], longer)


def test_weights_of_one_give_the_recorded_models():
    ensemble, _ = recorded()
    ones = np.ones((len(SEEDS), N_TRAIN), dtype=np.float32)
    reweighted = train_reweighted(make_model, TASK, *data(), ones, SEEDS, SETTINGS)
    for name, value in ensemble.parameters.items():
        assert torch.equal(reweighted.parameters[name], value)


def test_an_example_of_weight_zero_is_as_good_as_left_out_and_other_models_do_not_notice():
    ensemble, _ = recorded()
    weights = np.ones((len(SEEDS), N_TRAIN), dtype=np.float32)
    weights[1, [3, 8]] = 0
    reweighted = train_reweighted(make_model, TASK, *data(), weights, SEEDS, SETTINGS)
    *_, (without, _) = states_by_hand(SEEDS[1], torch.from_numpy(weights[1]).double())
    assert_states_close(reweighted.state_dict(1), without)
    assert not torch.allclose(reweighted.state_dict(1)["0.weight"], ensemble.state_dict(1)["0.weight"], rtol=1e-3)
    for other in (0, 2):
        assert_states_close(reweighted.state_dict(other), ensemble.state_dict(other))


def test_weights_between_and_above_count_for_what_they_are():
    weights = np.random.default_rng(0).uniform(0.2, 2, size=(1, N_TRAIN))
    reweighted = train_reweighted(make_model, TASK, *data(), weights, SEEDS[:1], SETTINGS)
    *_, (expected, _) = states_by_hand(SEEDS[0], torch.from_numpy(weights[0]))
    assert_states_close(reweighted.state_dict(0), expected)


def test_weights_of_examples_that_are_tokens_are_not_rounded():
    def make() -> nn.Module:
        return nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, 3))

    tokens = torch.randint(7, (N_TRAIN, 2), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(N_TRAIN) % 3
    weights = np.stack([np.full(N_TRAIN, share, dtype=np.float32) for share in (0.5, 1.0)])
    half, whole = train_reweighted(make, TASK, tokens, labels, weights, [1, 1], SETTINGS).parameters["2.bias"]
    fresh = make_models(make, [1])[0][2].bias.detach()
    assert not torch.equal(half, whole)
    assert torch.linalg.norm(half - fresh) > 0.1 * torch.linalg.norm(whole - fresh)


def test_only_the_model_that_diverged_is_marked_and_the_others_are_kept():
    inputs, labels = data()
    inputs[3] *= 1e300
    masks = draw_half_subsets(20, N_TRAIN, seed=4)
    wild, calm = masks[masks[:, 3]][0], masks[~masks[:, 3]][:2]
    masks = np.stack([calm[0], wild, calm[1]])
    ensemble = train_ensemble(make_model, TASK, inputs, labels, masks, SEEDS, SETTINGS, allow_diverged=True)
    assert diverged(ensemble).tolist() == [False, True, False]
    alone = train_ensemble(make_model, TASK, *data(), calm, [SEEDS[0], SEEDS[2]], SETTINGS)
    for index, other in ((0, 0), (2, 1)):
        assert_states_close(ensemble.state_dict(index), alone.state_dict(other))
    with pytest.raises(TrainingDivergedError, match=r"model 1 \(seed 22\).*lower the learning rate"):
        train_ensemble(make_model, TASK, inputs, labels, masks, SEEDS, SETTINGS)
    with pytest.raises(TrainingDivergedError, match=r"model 0 \(seed 21\)"):
        train_recorded(make_model, TASK, inputs, labels, SEEDS, SETTINGS)


def test_a_reweighted_model_that_diverged_is_given_to_the_caller():
    weights = np.ones((2, N_TRAIN))
    weights[1, 5] = 1e300
    ensemble = train_reweighted(make_model, TASK, *data(), weights, SEEDS[:2], SETTINGS)
    assert diverged(ensemble).tolist() == [False, True]
