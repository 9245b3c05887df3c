"""How many steps models are trained, against plain training of each length, and what the choice may depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.benchmarks import small_texts
from tests.oracles import sgd_by_hand
from tests.test_training import N_TRAIN, SETTINGS, TASK, data, make_model
from trak_core.errors import InvalidSettingError
from trak_core.seeds import derive_seed
from trak_core.tasks import Classification, Regression
from trak_core.training import (
    Schedule,
    TrainingLog,
    TrainingSettings,
    VmapTrainer,
    choose_steps,
    draw_half_subsets,
    recorded_steps,
    train_ensemble,
    train_recorded,
)
from trak_core.training.ensemble import make_models

STEPS = replace(SETTINGS, epochs=None, steps=7)


# --- training sized by steps --------------------------------------------------------------------------------------


def test_a_model_on_a_subset_gets_as_many_steps_as_one_on_everything_in_orders_drawn_anew():
    inputs, labels = data()
    masks = draw_half_subsets(2, N_TRAIN, seed=4)
    ensemble = train_ensemble(make_model, TASK, inputs, labels, masks, [11, 12], STEPS)
    for i, (mask, seed) in enumerate(zip(masks, [11, 12], strict=True)):
        members = torch.from_numpy(np.flatnonzero(mask))
        generator = torch.Generator().manual_seed(derive_seed(seed, "batches"))
        orders = [members[torch.randperm(len(members), generator=generator)] for _ in range(4)]
        batches = [batch for order in orders for batch in order[:8].split(4)][:7]  # two whole batches an order
        alone = sgd_by_hand(make_models(make_model, [seed])[0], TASK, inputs, labels, [batches], 0.2, 0.9, 0.01)
        for name, value in alone.named_parameters():
            torch.testing.assert_close(ensemble.state_dict(i)[name], value.detach(), rtol=1e-9, atol=1e-11)


def test_epochs_and_as_many_steps_give_the_same_model_bit_for_bit():
    inputs, labels = data()
    masks = np.ones((1, N_TRAIN), dtype=bool)
    by_epochs = train_ensemble(make_model, TASK, inputs, labels, masks, [3], SETTINGS)
    steps = Schedule(SETTINGS, N_TRAIN).n_steps
    by_steps = train_ensemble(make_model, TASK, inputs, labels, masks, [3], replace(SETTINGS, epochs=None, steps=steps))
    assert all(torch.equal(by_epochs.parameters[name], value) for name, value in by_steps.parameters.items())


def test_a_log_of_steps_is_replayed_to_its_end_and_read_back(tmp_path):
    inputs, labels = data()
    schedule = Schedule(STEPS, N_TRAIN)
    trained = train_recorded(make_model, TASK, inputs, labels, [5], STEPS)
    (log,) = trained.logs
    assert [moment.step for moment in log.moments] == recorded_steps(schedule) and log.moments[-1].step == 7
    assert log.batches().shape == (7, 4)
    assert log.time(0, 7) == pytest.approx(0.2 * 4 / (1 - 0.9))  # 7 + 6 + ... + 1 sevenths of .2
    log.save(tmp_path / "log.safetensors")
    again = TrainingLog.load(tmp_path / "log.safetensors", 5, schedule)
    for name, value in trained.ensemble.state_dict(0).items():
        assert torch.equal(again.moments[-1].parameters[name], value)


def test_progress_adds_up_to_the_whole_where_the_last_pass_is_cut():
    inputs, labels = data()
    shares: list[float] = []
    trainer = VmapTrainer(make_model, TASK, inputs, labels, STEPS)
    trainer.train_subsets(draw_half_subsets(2, N_TRAIN, seed=4), [1, 2], shares.append)
    assert len(shares) == 4 and sum(shares) == pytest.approx(1)


def test_settings_are_kept_and_read_back_and_those_of_recipes_are_kept_as_ever():
    assert STEPS.facts() == {"batch_size": 4, "learning_rate": 0.2, "momentum": 0.9, "weight_decay": 0.01, "steps": 7}
    assert list(SETTINGS.facts()) == ["epochs", "batch_size", "learning_rate", "momentum", "weight_decay"]
    for settings in (STEPS, SETTINGS):
        assert TrainingSettings.from_facts(settings.facts()) == settings


@pytest.mark.parametrize(("epochs", "steps"), [(None, None), (3, 7)])
def test_the_length_is_given_once(epochs, steps):
    with pytest.raises(InvalidSettingError, match=rf"epochs={epochs} and steps={steps}; give one of them"):
        TrainingSettings(epochs, 4, 0.1, 0.9, 0.0, steps=steps)


@pytest.mark.parametrize("steps", [0, -3, 2.5])
def test_steps_out_of_their_range_are_refused(steps):
    with pytest.raises(InvalidSettingError, match=f"steps={steps}; it must be a whole number from 1"):
        replace(STEPS, steps=steps)


# --- how many steps -----------------------------------------------------------------------------------------------


def net(n_inputs: int = 10, n_classes: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(n_inputs, 16), nn.GELU(), nn.Linear(16, n_classes))


def clouds(n: int, shares: tuple[float, ...] = (1, 1, 1), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points around one centre a class, which lie so far apart that they can be told apart but for some."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(
        np.repeat(np.arange(len(shares)), (np.array(shares) / sum(shares) * n).round().astype(int))
    )
    centres = np.random.default_rng(7).normal(size=(len(shares), 10)) * 0.9
    points = centres[labels] + generator.normal(size=(len(labels), 10))
    return torch.tensor(points, dtype=torch.float32), torch.tensor(labels)


def trainer_of(points: Tensor, labels: Tensor, rate: float = 0.02) -> VmapTrainer:
    return VmapTrainer(net, TASK, points, labels, TrainingSettings(20, 32, rate, 0.9, 0.001))


def accuracy(trainer: VmapTrainer, settings: TrainingSettings, points: Tensor, labels: Tensor) -> np.ndarray:
    """Of each class, averaged over three models."""
    masks = np.ones((3, len(trainer.labels)), dtype=bool)
    models = replace(trainer, settings=settings).train_subsets(masks, [1, 2, 3])
    right = models.right(TASK, models.outputs(TASK, points), labels)
    return np.array([right[:, labels.numpy() == label].mean() for label in np.unique(labels)])


def test_the_steps_chosen_are_as_good_as_the_best_length_on_examples_never_seen_and_not_needlessly_many():
    trainer, unseen = trainer_of(*clouds(300)), clouds(3000, seed=1)
    sizing = choose_steps(trainer, seed=0)
    lengths = (50, 200, 800)
    found = [accuracy(trainer, replace(sizing.settings, steps=steps), *unseen).mean() for steps in lengths]
    assert sizing.has_learnt and accuracy(trainer, sizing.settings, *unseen).mean() > max(found) - 0.01
    assert sizing.settings.steps < 400 and sizing.settings.epochs is None


def test_a_rare_class_that_can_be_learnt_is_learnt():
    """A model that always gives the common class is right for 95 of 100; that is not what is looked for."""
    trainer, unseen = trainer_of(*clouds(300, (0.95, 0.05), seed=2)), clouds(3000, (0.95, 0.05), seed=1)
    settings = choose_steps(trainer, seed=0).settings
    found = [accuracy(trainer, replace(settings, steps=steps), *unseen)[1] for steps in (50, 100, 800)]
    assert accuracy(trainer, settings, *unseen)[1] > max(found) - 0.05 > 0.6


def test_one_long_training_at_a_constant_rate_stands_for_a_training_of_each_length():
    """Losses of the means of weights follow those of models trained for each length by a falling rate."""
    trainer = trainer_of(*clouds(400), rate=0.005)
    sizing = choose_steps(trainer, seed=0, most_steps=400)
    points, labels = clouds(3000, seed=1)

    def loss(steps: int) -> float:
        models = replace(trainer, settings=replace(sizing.settings, steps=steps)).train_subsets(
            np.ones((3, len(trainer.labels)), dtype=bool), [1, 2, 3]
        )
        return float(models.of_each("loss", TASK, models.outputs(TASK, points), labels).mean())

    looks = [look for look in sizing.curve if look.steps in (25, 50, 100, 200, 400)]
    trained = [loss(look.steps) for look in looks]
    assert np.argsort(trained)[-3:].tolist() == np.argsort([look.loss for look in looks])[-3:].tolist() == [2, 1, 0]
    assert np.corrcoef(trained, [look.loss for look in looks])[0, 1] > 0.9


@pytest.mark.parametrize("shares", [(1, 1), (9, 1)])
def test_labels_that_have_nothing_to_do_with_the_inputs_are_said_not_to_be_learnt(shares):
    points, labels = clouds(300, shares)
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]
    sizing = choose_steps(trainer_of(points, shuffled), seed=0)
    assert not sizing.has_learnt and sizing.settings.steps == 400


def test_inputs_that_are_all_the_same_are_said_not_to_be_learnt():
    points, labels = clouds(300, (3, 1))
    assert not choose_steps(trainer_of(torch.zeros_like(points), labels), seed=0, most_steps=200).has_learnt


def test_the_choice_follows_from_data_and_seed_and_not_from_the_clock(monkeypatch):
    trainer = trainer_of(*clouds(120))
    first = choose_steps(trainer, seed=0, most_steps=100)
    ticks = iter(range(10**6))
    monkeypatch.setattr("trak_core.training.sizing.time.perf_counter", lambda: 1000.0 * next(ticks))
    again = choose_steps(trainer, seed=0, most_steps=100)
    assert again.settings == first.settings and again.curve == first.curve
    assert again.seconds_a_step != first.seconds_a_step


def test_a_longest_length_is_kept_and_the_shorter_ones_are_the_same():
    trainer = trainer_of(*clouds(120))
    whole, cut = choose_steps(trainer, seed=0, most_steps=200), choose_steps(trainer, seed=0, most_steps=100)
    assert cut.curve == whole.curve[: len(cut.curve)] and cut.curve[-1].steps == 100
    assert cut.settings.steps <= 100
    assert choose_steps(trainer, seed=0, most_steps=1).settings.steps == 1
    with pytest.raises(InvalidSettingError, match="most_steps=0; it must be a whole number from 1"):
        choose_steps(trainer, seed=0, most_steps=0)


def test_too_few_examples_to_hold_any_out_get_the_usual_number():
    points, labels = clouds(12)
    trainer = VmapTrainer(net, TASK, points, labels, TrainingSettings(20, 3, 0.02, 0.9, 0.001))
    sizing = choose_steps(trainer, seed=0)
    assert (sizing.settings.steps, sizing.curve, sizing.has_learnt) == (400, (), False)


def test_a_class_of_one_example_and_one_of_two_are_no_obstacle():
    points, labels = clouds(150)
    labels[0], labels[1:3] = 3, 4
    trainer = VmapTrainer(lambda: net(10, 5), TASK, points, labels, TrainingSettings(20, 32, 0.02, 0.9, 0.001))
    sizing = choose_steps(trainer, seed=0)
    assert sizing.has_learnt and all(np.isfinite(look.loss) for look in sizing.curve)


@pytest.mark.parametrize("name", ["sst2", "trec"])
def test_the_usual_model_is_as_good_as_logistic_regression_on_300_texts(name):
    """One draw of the benchmark's five, less the two points that it allows."""
    if not (small_texts.DATA / name).exists():
        pytest.skip(f"the shared data {name} are missing ({small_texts.DATA})")
    ((ours, linear),) = small_texts.compare(name, n_draws=1)
    assert ours >= linear - 0.02


def test_a_task_without_classes_is_sized_by_its_own_loss():
    points, _ = clouds(200)
    values = points @ torch.arange(10.0) / 10
    trainer = VmapTrainer(lambda: net(10, 1), Regression(), points, values, TrainingSettings(20, 32, 0.01, 0.9, 0.0))
    sizing = choose_steps(trainer, seed=0, most_steps=400)
    losses = {look.steps: look.loss for look in sizing.curve}
    assert sizing.has_learnt and losses[sizing.settings.steps] < 0.1 * losses[25]
    assert all(np.isnan(look.accuracy) for look in sizing.curve)


def test_training_that_diverges_is_sized_nevertheless():
    points, labels = clouds(120)
    sizing = choose_steps(trainer_of(points, labels, rate=1e6), seed=0)
    assert sizing.settings.steps >= 1 and not sizing.has_learnt


def test_a_model_of_whole_numbers_is_sized_likewise():
    """Ids of words: the parameters are floats and the inputs are not."""
    generator = torch.Generator().manual_seed(0)
    tokens, labels = torch.randint(0, 9, (120, 4), generator=generator), torch.arange(120) % 2
    tokens[labels == 1, 0] = 9

    def reader() -> nn.Module:
        return nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(16, 2))

    settings = TrainingSettings(20, 16, 0.1, 0.9, 0.0)
    assert choose_steps(VmapTrainer(reader, Classification("text"), tokens, labels, settings), seed=0).has_learnt
