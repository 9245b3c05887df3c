"""Subjects besides plain classifiers: other tasks and heads, targets of several numbers, input that is not finite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import trak_core as tc
from trak_core.errors import (
    InvalidDataError,
    InvalidModelError,
    InvalidSettingError,
    NeedNotMetError,
    NonFiniteGradientError,
)
from trak_core.gradients import representations
from trak_core.training import LoopTrainer
from trak_core.training.loop_trainer import try_loop

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
N_TRAIN, N_TEST = 60, 10
SIZES = {"n_checkpoints": 2, "n_subsets": 20, "n_seeds": 2, "progress": False}
SETTINGS = {"epochs": 40, "batch_size": 10, "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 1e-3}
TRAINING = tc.TrainingSettings(**SETTINGS)
INPUTS = torch.randn(N_TRAIN + N_TEST, 6, generator=torch.Generator().manual_seed(0))
CLASSES = (INPUTS[:, 0] > 0).long() + (INPUTS[:, 1] > 0.5).long()

NUMBERS = INPUTS[:, 0] - INPUTS[:, 1] + 0.3 * torch.randn(len(INPUTS), generator=torch.Generator().manual_seed(1))


def sides(targets: Tensor, inputs: Tensor = INPUTS) -> dict[str, tuple[Tensor, Tensor]]:
    return {"train": (inputs[:N_TRAIN], targets[:N_TRAIN]), "test": (inputs[N_TRAIN:], targets[N_TRAIN:])}


def built(directory: Path, name: str, **given: Any) -> tc.Run:
    return tc.open_run(tc.build(tc.Subject(name=name, **given), runs_dir=directory, **SIZES))


def signed(outputs: Tensor, target: Tensor) -> Tensor:
    return (2 * target - 1) * outputs


YES_OR_NO = tc.CustomTask(
    lambda outputs, target: signed(outputs[:, 0], target),
    lambda outputs, target: torch.sigmoid(-signed(outputs[:, 0], target)),
    name="yes_or_no",
    loss_function=lambda outputs, target: F.softplus(-signed(outputs[:, 0], target)),
    answer_function=lambda outputs: (outputs[:, 0] > 0).float(),
)
TAGS = tc.CustomTask(
    lambda outputs, target: signed(outputs, target).sum(1),
    lambda outputs, target: torch.sigmoid(-signed(outputs, target)).mean(1),
    name="tags",
    loss_function=lambda outputs, target: F.softplus(-signed(outputs, target)).sum(1),
)


@pytest.mark.parametrize(
    ("task", "targets", "n_outputs"),
    [
        ("regression", NUMBERS, 1),
        (YES_OR_NO, (INPUTS[:, 0] > 0).float(), 1),
        (TAGS, (INPUTS[:, :3] > 0).float(), 3),
    ],
    ids=["regression", "yes or no", "tags"],
)
def test_the_built_in_trainer_takes_any_task(task, targets, n_outputs, tmp_path):
    model = lambda: nn.Linear(6, n_outputs)  # noqa: E731
    with built(tmp_path, "mine", **sides(targets), task=task, make_model=model, training=TRAINING) as run:
        assert run.lds().mean > 0 and np.isfinite(run.scores()).all()
        if targets.dim() == 2:
            name = ", ".join(f"{number:.4g}" for number in targets[0].tolist())
            assert run.rows("SELECT label_name FROM examples WHERE split = 'train' AND idx = 0") == [(name,)]


def test_live_scores_of_a_task_without_classes_are_in_the_unit_of_the_stored_ones(tmp_path):
    targets = (INPUTS[:, 0] > 0).float()
    given = {"task": YES_OR_NO, "make_model": lambda: nn.Linear(6, 1), "training": TRAINING}
    with built(tmp_path, "mine", **sides(targets), **given) as run:
        live, stored = run.attribute(INPUTS[N_TRAIN:]), run.scores()
    np.testing.assert_allclose(np.abs(live), np.abs(stored), atol=1e-3 * np.abs(stored).max())


# --- heads --------------------------------------------------------------------------------------------------------


class Auxiliary(nn.Module):
    """A head that is registered before the body, and another that runs in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.aside = nn.Linear(4, 3), nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)))


class Convolution(nn.Module):
    """No Linear layer at all."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv1d(1, 2, 3), nn.Conv1d(2, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.first(x[:, None]))).mean(-1)


class Prototypes(nn.Module):
    """Nothing but parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.prototypes.T


EXPECTED: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    Auxiliary: lambda model, x: torch.relu(model.body(x)),
    Convolution: lambda model, x: torch.relu(model.first(x[:, None])).flatten(1),
    Prototypes: lambda model, x: x,
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_representations_are_what_enters_the_last_layer_that_runs(kind):
    torch.manual_seed(1)
    model = kind()
    found = representations(model, dict(model.state_dict()), INPUTS)
    torch.testing.assert_close(found, EXPECTED[kind](model, INPUTS).detach())


def test_a_model_without_a_linear_layer_is_built(tmp_path):
    with built(tmp_path, "mine", **sides(CLASSES), make_model=Convolution, training=TRAINING) as run:
        assert run.rows("SELECT count(*) > 0 FROM suspects") == [(True,)]


# --- input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "said"), [(3, "train example 3"), (N_TRAIN + 2, "test example 2")])
def test_an_input_that_is_not_finite_is_named_before_anything_is_trained(place, said):
    inputs = INPUTS.clone()
    inputs[place, 1] = torch.nan
    with pytest.raises(InvalidDataError, match=f"{said} has NaN or infinity in its inputs, as 1 of"):
        tc.Subject(name="mine", **sides(CLASSES, inputs), make_model=Auxiliary, training=TRAINING)


@pytest.mark.parametrize("method", ["trak", "grad_dot", "embedding", "influence_ekfac"])
def test_every_method_names_the_train_example_whose_output_is_not_finite(method):
    inputs = INPUTS[:N_TRAIN].clone()
    inputs[3, 1] = torch.nan
    with pytest.raises(NonFiniteGradientError, match="train example 3"):
        tc.Attributor(Auxiliary(), method=method, progress=False).fit((inputs, CLASSES[:N_TRAIN]))


# --- tasks and settings that cannot be ----------------------------------------------------------------------------


def by_one_hot(outputs: Tensor, target: Tensor) -> Tensor:
    return (outputs.log_softmax(1) * F.one_hot(target, 3)).sum(1)


ONE_HOT = tc.CustomTask(by_one_hot, by_one_hot, loss_function=lambda *given: -by_one_hot(*given), name="by one hot")


def test_a_task_that_cannot_be_traced_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(InvalidSettingError, match=r"model_output of task 'by one hot' cannot be traced .*one_hot"):
        built(tmp_path, "mine", **sides(CLASSES), task=ONE_HOT, make_model=Auxiliary, training=TRAINING)
    with pytest.raises(InvalidModelError, match=r"'influence_exact' cannot trace the model or its task .*one_hot"):
        attributor = tc.Attributor(Auxiliary(), task=ONE_HOT, method="influence_exact", progress=False)
        attributor.fit(sides(CLASSES)["train"]).score(sides(CLASSES)["test"])


def test_a_function_of_a_task_that_fails_is_named():
    reads_a_class_that_is_not_there = tc.CustomTask(lambda outputs, _: outputs[:, 7], by_one_hot)
    with pytest.raises(InvalidSettingError, match=r"output_function of task 'custom' .* fails with IndexError"):
        tc.Attributor(Auxiliary(), task=reads_a_class_that_is_not_there, progress=False).fit(sides(CLASSES)["train"])
    with pytest.raises(InvalidSettingError, match="weight_function is a int; give a function"):
        tc.CustomTask(by_one_hot, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("batch_size", 0),
        ("learning_rate", -1),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("weight_decay", -1e-3),
    ],
)
def test_training_settings_out_of_their_range_are_refused(name, value):
    with pytest.raises(InvalidSettingError, match=f"{name}={value}; it must be a"):
        tc.TrainingSettings(**{**SETTINGS, name: value})


def test_training_that_is_no_settings_is_refused():
    with pytest.raises(InvalidSettingError, match=r"training is a str; give trak_core\.TrainingSettings"):
        tc.Subject(name="mine", **sides(CLASSES), make_model=Auxiliary, training="sgd")


# --- logs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "said"), [([1], "keeps 1 states"), ([1, 2, 3], "the last one after step 3")])
def test_a_log_that_does_not_tell_the_whole_training_is_refused(kept, said):
    def train_model(indices: np.ndarray, seed: int, log: Any) -> nn.Module:
        torch.manual_seed(seed)
        model = Auxiliary()
        for step in range(1, 6):
            with torch.no_grad():
                model.body.weight += 0.1 * INPUTS[torch.as_tensor(indices)].mean()
            if step in kept:
                log.keep(model, step=step, learning_rate=0.1)
        return model

    with pytest.raises(
        InvalidModelError, match=rf"{said}.*keep 3 or more, the last one with the weights that it returns"
    ):
        try_loop(LoopTrainer(train_model, Auxiliary(), N_TRAIN), seed=0)


def test_a_task_without_a_loss_is_said_to_have_none(tmp_path):
    no_loss = tc.CustomTask(YES_OR_NO.output_function, YES_OR_NO.weight_function, name="no loss")
    with pytest.raises(NeedNotMetError, match="'no loss'"):
        given = {"task": no_loss, "make_model": lambda: nn.Linear(6, 1), "training": TRAINING}
        built(tmp_path, "mine", **sides((INPUTS[:, 0] > 0).float()), **given)
