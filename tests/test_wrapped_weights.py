"""Models in wrappers and weights under the names that wrappers give them, as training scripts leave them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import trak_core as tc
from trak_core.errors import CheckpointMismatchError
from trak_core.training.names import unwrapped
from trak_core.training.states import fitting_state

# torch's own, when it compiles first.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
DRAW = torch.Generator().manual_seed(0)
INPUTS = torch.randn(40, 6, generator=DRAW)
LABELS = (INPUTS[:, 0] > 0).long()


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def scores(model: nn.Module, **settings: object) -> np.ndarray:
    attributor = tc.Attributor(model, "image_classification", progress=False, **settings)
    return attributor.fit((INPUTS, LABELS)).score((INPUTS[:5], LABELS[:5]))


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return scores(net(1))


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # other compilers take seconds to import


class Twice(nn.Module):
    """A model whose part is compiled."""

    def __init__(self, is_compiled: bool) -> None:
        super().__init__()
        inner = net(1)
        self.inner = compiled(inner) if is_compiled else inner

    def forward(self, inputs):
        return self.inner(inputs)


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "compiled": compiled,
    "averaged": AveragedModel,
    "both": lambda model: nn.DataParallel(compiled(model)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_model_is_the_model(wrap, expected):
    wrapped, plain = wrap(net(1)), net(1).state_dict()
    given = ({}, {"checkpoints": [plain]}, {"checkpoints": [wrapped]}, {"checkpoints": [wrapped.state_dict()]})
    for settings in given:
        np.testing.assert_array_equal(scores(wrapped, **settings), expected)
    np.testing.assert_array_equal(scores(net(), checkpoints=[wrapped.state_dict()]), expected)
    np.testing.assert_array_equal(scores(wrapped, parameters="3.*"), scores(net(1), parameters="3.*"))
    assert type(unwrapped(wrapped)) is nn.Sequential


def test_what_a_training_function_returns_may_be_wrapped():
    plain = net(1).state_dict()
    for given in (nn.DataParallel(net(1)), nn.DataParallel(net(1)).state_dict(), compiled(net(1)).state_dict()):
        found = fitting_state(given, net(), "train_model(40 indices, seed 0)")
        assert all(torch.equal(found[name], plain[name]) for name in found) and len(found) == len(plain)


def test_a_compiled_part_and_a_plain_one_take_each_others_weights(expected):
    for model, weights in ((True, False), (False, True)):
        state = Twice(weights).state_dict()
        np.testing.assert_array_equal(scores(Twice(model), checkpoints=[state]), expected)


def test_weights_of_the_part_fit_a_model_that_holds_nothing_else(expected):
    np.testing.assert_array_equal(scores(Twice(False), checkpoints=[net(1).state_dict()]), expected)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"net": state, "epoch": 3, "accuracy": torch.tensor(0.5)},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}, "lr": 0.1},
        lambda state: {"model_state_dict": state, "ema": state, "optimizer": {"state": {}, "param_groups": [{}]}},
        lambda state: {"trainer": {"weights": state}},
    ],
    ids=["net", "lightning", "usual key first", "nested"],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_weights_are_found_among_what_training_scripts_save(wrap, as_file, expected, tmp_path):
    saved = wrap(net(1).state_dict())
    if as_file:
        torch.save(saved, tmp_path / "all.pt")
    np.testing.assert_array_equal(scores(net(), checkpoints=[tmp_path / "all.pt" if as_file else saved]), expected)


def test_a_safetensors_file_may_have_a_prefix(expected, tmp_path):
    save_file({f"model.{name}": value for name, value in net(1).state_dict().items()}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(scores(net(), checkpoints=[tmp_path / "a.safetensors"]), expected)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda state: {"generator": state, "critic": state}, r"several sets of weights, under 'generator', 'critic'"),
        (
            lambda state: {f"{part}.{name}": value for name, value in state.items() for part in ("student", "teacher")},
            r"those that begin with 'student\.' fit without it: give .*removeprefix\('student\.'\)",
        ),
        (
            lambda state: {**{f"model.{name}": value for name, value in state.items()}, "loss.weight": torch.ones(2)},
            r"unexpected: .*those that begin with 'model\.' fit without it",
        ),
        (lambda state: {f"model.{name}": value for name, value in list(state.items())[1:]}, r"missing: 0\.weight"),
        (lambda state: {}, r"missing: 0\.weight"),
    ],
    ids=["two sets", "two models", "one part of many", "one missing", "nothing"],
)
def test_what_is_not_clear_is_refused_with_the_next_step(given, said):
    with pytest.raises(CheckpointMismatchError, match=said):
        scores(net(), checkpoints=[given(net(1).state_dict())])
