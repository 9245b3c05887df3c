"""Training many models at once against torch's optimizer on one at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.oracles import sgd_by_hand
from trak_core.errors import InvalidSettingError, TrainingDivergedError
from trak_core.seeds import derive_seed
from trak_core.tasks import Classification
from trak_core.training import TrainingSettings, draw_half_subsets, train_ensemble
from trak_core.training.ensemble import make_models

SETTINGS = TrainingSettings(epochs=3, batch_size=4, learning_rate=0.2, momentum=0.9, weight_decay=0.01)
N_TRAIN = 18
TASK = Classification()


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 3)).double()


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N_TRAIN, 5, generator=generator, dtype=torch.float64), torch.arange(N_TRAIN) % 3


def test_models_trained_together_equal_models_trained_alone_by_torch_sgd():
    inputs, labels = data()
    masks, seeds = draw_half_subsets(3, N_TRAIN, seed=4), [11, 12, 13]
    ensemble = train_ensemble(make_model, TASK, inputs, labels, masks, seeds, SETTINGS)
    for i, (mask, seed) in enumerate(zip(masks, seeds, strict=True)):
        members = torch.from_numpy(np.flatnonzero(mask))
        generator = torch.Generator().manual_seed(derive_seed(seed, "batches"))
        batches = []
        for _ in range(SETTINGS.epochs):
            order = members[torch.randperm(len(members), generator=generator)]
            batches.append(list(order[:8].split(4)))
        alone = sgd_by_hand(
            make_models(make_model, [seed])[0],
            TASK,
            inputs,
            labels,
            batches,
            SETTINGS.learning_rate,
            SETTINGS.momentum,
            SETTINGS.weight_decay,
        )
        for name, value in alone.named_parameters():
            # float64; the two sum gradients in another order.
            torch.testing.assert_close(ensemble.state_dict(i)[name], value.detach(), rtol=1e-9, atol=1e-11)


def test_a_model_does_not_depend_on_those_it_is_trained_with():
    inputs, labels = data()
    masks = draw_half_subsets(4, N_TRAIN, seed=4)
    together = train_ensemble(make_model, TASK, inputs, labels, masks, [1, 2, 3, 4], SETTINGS)
    alone = train_ensemble(make_model, TASK, inputs, labels, masks[2:3], [3], SETTINGS)
    for name, value in alone.state_dict(0).items():
        torch.testing.assert_close(together.state_dict(2)[name], value, rtol=1e-9, atol=1e-11)


def test_torchs_global_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_models(make_model, [1, 2])
    assert torch.equal(torch.rand(3), expected)


def test_subsets_of_unequal_size_are_refused():
    inputs, labels = data()
    masks = np.ones((2, N_TRAIN), dtype=bool)
    masks[1, :3] = False
    with pytest.raises(InvalidSettingError, match="from 15 to 18 members"):
        train_ensemble(make_model, TASK, inputs, labels, masks, [1, 2], SETTINGS)


def test_a_batch_larger_than_the_subset_is_refused():
    inputs, labels = data()
    masks = np.zeros((1, N_TRAIN), dtype=bool)
    masks[0, :3] = True
    with pytest.raises(InvalidSettingError, match="batch_size=4 is larger than the subset of 3"):
        train_ensemble(make_model, TASK, inputs, labels, masks, [1], SETTINGS)


def test_training_that_diverges_is_reported_with_the_model():
    inputs, labels = data()
    wild = TrainingSettings(epochs=60, batch_size=4, learning_rate=1e9, momentum=0.9, weight_decay=1.0)
    with pytest.raises(TrainingDivergedError, match=r"model 0 \(seed 7\)"):
        train_ensemble(make_model, TASK, inputs, labels, np.ones((1, N_TRAIN), dtype=bool), [7], wild)


def test_half_subsets_have_half_the_examples_and_differ():
    masks = draw_half_subsets(6, 15, seed=0)
    assert (masks.sum(1) == 7).all()
    assert len(np.unique(masks, axis=0)) == 6
    assert np.array_equal(masks, draw_half_subsets(6, 15, seed=0))
    assert np.array_equal(masks[:4], draw_half_subsets(4, 15, seed=0))
