"""Fine-tuning against loops written out, and what retraining needs of it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from trak_core.errors import InvalidSettingError, TrainingDivergedError
from trak_core.tasks import Classification
from trak_core.training import FineTuner, FineTuning
from trak_core.training.schedule import draw_batches

N = 24


class Tuned(nn.Module):
    """A frozen layer, a trained one, and dropout between them."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.base, self.dropout, self.head = nn.Linear(5, 6), nn.Dropout(dropout), nn.Linear(6, 3)
        self.base.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(torch.tanh(self.base(x))))


torch.manual_seed(0)
START = Tuned()
INPUTS, LABELS = torch.randn(N, 5), torch.arange(N) % 3


SETTINGS = FineTuning(3, 4, 0.05)


def tuner(settings: FineTuning = SETTINGS, dropout: float = 0.0) -> FineTuner:
    def make() -> nn.Module:
        model = Tuned(dropout)
        model.load_state_dict(START.state_dict())
        return model

    return FineTuner(make, Classification(), INPUTS, LABELS, settings)


def test_a_training_is_adamw_with_warm_up_and_a_linear_fall():
    settings = FineTuning(3, 4, 0.05, weight_decay=0.1, warm_up=0.25)
    state, _ = tuner(settings).train(torch.arange(N), seed=7)
    model = copy.deepcopy(START)
    groups = [
        {"params": [model.head.weight], "weight_decay": 0.1},
        {"params": [model.head.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.05)
    factor = lambda step: min((step + 1) / 4, (18 - step) / 14)  # noqa: E731  (18 steps, of which 4 rise)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for places in draw_batches(N, 4, 18, seed=7):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(INPUTS[places]), LABELS[places]).backward()
        optimizer.step()
        schedule.step()
    assert torch.allclose(state["head.weight"], model.head.weight, atol=1e-6)
    assert torch.allclose(state["head.bias"], model.head.bias, atol=1e-6)


def test_only_trained_parameters_are_kept_and_the_rest_is_that_of_the_architecture():
    ensemble = tuner().train_subsets(np.ones((2, N), dtype=bool), [1, 2])
    assert set(ensemble.parameters) == {"head.weight", "head.bias"}
    model = copy.deepcopy(START)
    model.load_state_dict(ensemble.state_dict(1), strict=False)
    assert torch.allclose(ensemble.outputs(Classification(), INPUTS)[1], model(INPUTS), atol=1e-6)


def test_the_same_seed_gives_the_same_model_with_dropout_too():
    one, other, different = (tuner(dropout=0.5).train(torch.arange(N), seed)[0] for seed in (3, 3, 4))
    assert torch.equal(one["head.weight"], other["head.weight"])
    assert not torch.equal(one["head.weight"], different["head.weight"])


def test_what_is_removed_changes_nothing_whatever_it_holds():
    removed = [np.array([0, 5])]
    expected = tuner().train_without(removed, [1]).state_dict(0)
    other = tuner()
    changed = INPUTS.clone()
    changed[[0, 5]] = 100.0
    found = FineTuner(other.make_model, other.task, changed, LABELS, other.settings).train_without(removed, [1])
    assert torch.allclose(found.state_dict(0)["head.weight"], expected["head.weight"], atol=1e-6)


def test_a_subset_is_trained_on_its_members_alone():
    mask = np.arange(N) < 12
    found = tuner().train_subsets(mask[None], [5]).state_dict(0)
    small = tuner()
    alone = FineTuner(small.make_model, small.task, INPUTS[:12], LABELS[:12], small.settings)
    assert torch.equal(found["head.weight"], alone.train(torch.arange(12), 5)[0]["head.weight"])


def test_logs_end_with_the_trained_weights_and_tell_the_mean_rates():
    trained = tuner().train_checkpoints([1, 2], n_logged=1)
    (log,) = trained.logs
    assert [moment.step for moment in log.ends] == [3, 6, 9, 12, 15, 18]
    assert torch.equal(log.ends[-1].parameters["head.weight"], trained.ensemble.state_dict(0)["head.weight"])
    rates = [tuner().settings.rate(step, 18) for step in range(18)]
    assert log.time(0, 18) == pytest.approx(sum(rates))


def test_a_training_that_diverges_is_told():
    wild = FineTuning(3, 4, 1e30)
    with pytest.raises(TrainingDivergedError, match="lower the learning rate"):
        tuner(wild).train_checkpoints([1], n_logged=0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epochs": None}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"warm_up": 1.0}, "warm_up"),
        ({"weight_decay": -1}, "weight_decay"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], named: str):
    with pytest.raises(InvalidSettingError, match=named):
        FineTuning(**{"epochs": 1, "batch_size": 4, "learning_rate": 0.1, **settings})


def test_a_subset_smaller_than_a_batch_is_refused():
    with pytest.raises(InvalidSettingError, match="subset of 3 examples"):
        tuner().train_subsets((np.arange(N) < 3)[None], [0])
