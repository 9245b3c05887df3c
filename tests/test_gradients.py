"""Gradients of every way against one backward pass for each example, in float64."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.oracles import backward_gradients
from trak_core.errors import InvalidModelError, InvalidSettingError
from trak_core.gradients import (
    BatchGradients,
    GradientComputer,
    Inputs,
    OuterProducts,
    PackedRows,
    TableRows,
    count,
    find_layers,
    form,
    n_parameters,
    representations,
    take,
)
from trak_core.tasks import Classification, Regression

N, N_CLASSES = 5, 3
TASK = Classification()
# float64: what differs is only the order of sums over a few hundred numbers.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
Build = Callable[..., nn.Module]


class Model(nn.Module):
    """A model whose forward is a function of its modules, which are named by keyword."""

    def __init__(self, run: Callable[["Model", Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.run(self, inputs)


class WithParameter(nn.Module):
    """Adds a parameter of its own; `checked` adds a look at the values, as `vmap` cannot take it."""

    def __init__(self, checked: bool = False) -> None:
        super().__init__()
        self.offset, self.checked = nn.Parameter(torch.randn(6)), checked
        self.head = nn.Linear(6, N_CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(inputs + self.offset)
        return self.head(2 * hidden if self.checked and hidden.sum().item() > 0 else hidden)


class Undifferentiable(torch.autograd.Function):
    """The identity, whose backward pass must never run."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(*_: object) -> None: ...

    @staticmethod
    def backward(*_: object) -> Tensor:
        raise AssertionError("differentiated what lies before the first selected layer")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 5, bias=False), nn.Tanh(), nn.Linear(5, N_CLASSES))


def normed() -> nn.Module:
    last = nn.Sequential(nn.LayerNorm((4, 6), bias=False), nn.Flatten(), nn.BatchNorm1d(24), nn.Linear(24, N_CLASSES))
    conv = nn.Conv2d(2, 4, 3, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Tanh(), nn.Flatten(2), nn.RMSNorm(36), *[
        nn.Linear(36, 6), nn.LayerNorm(6), nn.BatchNorm1d(4), nn.Tanh(), *last
    ])  # fmt: skip


def residual() -> nn.Module:
    fc1, drop, act = nn.Linear(6, 6), nn.Dropout(0.5), nn.ReLU(inplace=True)
    return Model(lambda m, x: m.head(m.drop(x + m.act(m.fc1(x)))), fc1=fc1, drop=drop, act=act, head=nn.Linear(6, 3))


def positions(shape: Callable[[Tensor], Tensor], length: int) -> nn.Module:
    """Tokens and positions; `shape` gives the indices of the positions."""
    return Model(
        lambda m, x: m.head(torch.tanh(m.words(x) + m.places(shape(torch.arange(length)))).mean(1)),
        words=nn.Embedding(9, 4, padding_idx=0),
        places=nn.Embedding(7, 4),
        head=nn.Linear(4, N_CLASSES),
    )


def twice() -> nn.Module:
    return Model(lambda m, x: m.head(m.norm(m.fc(torch.tanh(m.norm(m.fc(x)))))), fc=nn.Linear(6, 6), norm=nn.LayerNorm(6),
                 head=nn.Linear(6, N_CLASSES))  # fmt: skip


def unused() -> nn.Module:
    head = nn.Linear(6, N_CLASSES)
    head.bias.requires_grad_(False)
    return Model(
        lambda m, x: m.head(m.fc(x)), fc=nn.Linear(6, 6).requires_grad_(False), spare=nn.Linear(2, 7), head=head
    )


def convolutions(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(N_CLASSES))


def vectors(n: int = N) -> Tensor:
    return torch.randn(n, 6)


def images(n: int = N) -> Tensor:
    return torch.randn(n, 2, 6, 6)


def tokens(n: int = N, length: int = 6) -> Tensor:
    """Few words, so that each example repeats some and holds the padding word 0."""
    return torch.arange(n * length).reshape(n, length).pow(2).remainder(7)


def sequences(n: int = N, length: int = 4) -> Tensor:
    return torch.randn(n, length, 6)


HOOKABLE: dict[str, tuple[Build, Callable[[], Tensor]]] = {
    "mlp": (mlp, vectors),
    "linear on sequences": (lambda: nn.Sequential(mlp(), nn.Flatten(), nn.Linear(12, N_CLASSES)), sequences),
    "linear on folded sequences": (
        lambda: Model(lambda m, x: m.mlp(x.flatten(0, 1)).reshape(len(x), -1, N_CLASSES).mean(1), mlp=mlp()),
        sequences,
    ),
    "stride, dilation": (
        lambda: convolutions(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(3, 4, 2, dilation=2)),
        images,
    ),
    "same, circular": (
        lambda: convolutions(
            nn.Conv2d(2, 3, (4, 3), padding="same"), nn.Tanh(), nn.Conv2d(3, 2, 3, padding=2, padding_mode="circular")
        ),
        images,
    ),
    "groups, depthwise": (
        lambda: convolutions(nn.Conv2d(2, 6, 3, groups=2, bias=False), nn.Tanh(), nn.Conv2d(6, 6, 2, groups=6)),
        images,
    ),
    "conv1d": (lambda: convolutions(nn.Conv1d(4, 3, 3, stride=2, padding=1), nn.Tanh(), nn.Conv1d(3, 2, 2)), sequences),
    "inplace": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)
        ),
        images,
    ),
    "embedding": (lambda: nn.Sequential(nn.Embedding(9, 4, padding_idx=0), nn.Flatten(), nn.Linear(24, 3)), tokens),
    "sparse embedding": (lambda: nn.Sequential(nn.Embedding(9, 2, sparse=True), nn.Flatten(), nn.Linear(12, 3)), tokens),
    "norms": (normed, images),
    "residual, dropout": (residual, vectors),
    "a layer used twice": (twice, vectors),
    "positions in one row": (lambda: positions(lambda at: at[None], 6), tokens),
    "frozen and unused": (unused, vectors),
}  # fmt: skip
NO_VMAP = {"sparse embedding"}


def made(build: Build, inputs: Callable[[], Tensor] = vectors, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    """A model in float64 with no weight or statistic at its initial value, inputs and labels."""
    torch.manual_seed(seed)
    model, batch = build().eval(), inputs()
    model(batch)  # shapes of lazy layers
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape) + 0.5 if "var" in name else 0.4 * torch.randn(value.shape))
    return model.double(), batch.double() if batch.is_floating_point() else batch, torch.arange(len(batch)) % N_CLASSES


def computer_of(
    model: nn.Module, inputs: Inputs, asked: Tensor, way: str = "auto", patterns: str | list[str] | None = None
) -> GradientComputer:
    computer = GradientComputer(model, TASK, find_layers(model, patterns), "float64")
    computer.choose(model.state_dict(), inputs, asked, way)
    return computer


def assert_equals_the_oracle(gradients: BatchGradients, model: nn.Module, inputs: Inputs, asked: Tensor) -> None:
    expected = backward_gradients(model, TASK, inputs, asked)
    for each in gradients.layers:
        torch.testing.assert_close(form(each).T, expected[each.layer.name], **TOLERANCE)


@pytest.mark.parametrize("way", ["hooks", "functional", "loop"])
@pytest.mark.parametrize("name", HOOKABLE)
def test_every_way_gives_the_gradients_of_one_backward_pass_an_example(name: str, way: str):
    model, inputs, asked = made(*HOOKABLE[name])
    if way == "functional" and name in NO_VMAP:
        with pytest.raises(InvalidSettingError, match="no functional"):
            computer_of(model, inputs, asked, way)
        return
    computer = computer_of(model, inputs, asked, way)
    gradients = computer.compute(model.state_dict(), inputs, asked)
    assert computer.path == way
    assert [each.layer.name for each in gradients.layers] == list(
        backward_gradients(model, TASK, inputs[:1], asked[:1])
    )
    assert_equals_the_oracle(gradients, model, inputs, asked)
    outputs = model(inputs).detach()
    torch.testing.assert_close(gradients.outputs, outputs, **TOLERANCE)
    torch.testing.assert_close(gradients.model_output, TASK.model_output(outputs, asked), **TOLERANCE)
    torch.testing.assert_close(gradients.q, TASK.out_to_loss(outputs, asked), **TOLERANCE)


@pytest.mark.parametrize("name", HOOKABLE)
def test_hooks_are_chosen_wherever_they_give_the_gradients(name: str):
    computer = computer_of(*made(*HOOKABLE[name]))
    assert (computer.path, computer.reason) == ("hooks", "every selected layer allows it")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_hooks_follow_every_setting_of_a_convolution(data: st.DataObject):
    dims, groups = data.draw(st.sampled_from([1, 2])), data.draw(st.sampled_from([1, 2, 4]))
    kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(dims))
    padding = data.draw(st.one_of(st.integers(0, 2), st.sampled_from(["same", "valid"])))
    conv = {1: nn.Conv1d, 2: nn.Conv2d}[dims](
        4,
        groups * data.draw(st.integers(1, 2)),
        kernel,
        stride=1 if padding == "same" else tuple(data.draw(st.integers(1, 3)) for _ in range(dims)),
        padding=padding,
        dilation=tuple(data.draw(st.integers(1, 2)) for _ in range(dims)),
        groups=groups,
        bias=data.draw(st.booleans()),
        padding_mode=data.draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"])),
    )
    model, inputs, asked = made(lambda: convolutions(conv), lambda: torch.randn(3, 4, *[7, 5][:dims]))
    gradients = computer_of(model, inputs, asked, "hooks").compute(model.state_dict(), inputs, asked)
    assert_equals_the_oracle(gradients, model, inputs, asked)


def tied() -> nn.Module:
    words, head = nn.Embedding(7, 4), nn.Linear(4, 7)
    head.weight = words.weight
    return Model(lambda m, x: m.head(torch.tanh(m.words(x)).mean(1))[:, :N_CLASSES], words=words, head=head)


def attention() -> nn.Module:
    return nn.Sequential(nn.MultiheadAttention(6, 2, batch_first=True), nn.Flatten(), nn.Linear(24, N_CLASSES))


def attending() -> nn.Module:
    return Model(lambda m, x: m.head(m.attention(x, x, x, need_weights=True)[0].mean(1)),
                 attention=nn.MultiheadAttention(6, 2, batch_first=True), head=nn.Linear(6, N_CLASSES))  # fmt: skip


def changed_in_place(m: Model, x: Tensor) -> Tensor:
    hidden = torch.tanh(m.fc1(x))
    hidden += m.fc2(hidden)
    return m.head(hidden)


def without_grad(m: Model, x: Tensor) -> Tensor:
    with torch.no_grad():
        hidden = m.fc1(x)
    return m.head(torch.tanh(hidden + m.fc2(x)))


def three(run: Callable[[Model, Tensor], Tensor]) -> nn.Module:
    return Model(run, fc1=nn.Linear(6, 6), fc2=nn.Linear(6, 6), head=nn.Linear(6, N_CLASSES))


def frames(m: Model, x: Tensor) -> Tensor:
    return m.head(m.norm(m.conv(x.reshape(-1, 1, 2, 3))).reshape(len(x), -1))


UNHOOKABLE: dict[str, tuple[Build, Callable[[], Tensor], str, str]] = {
    "a parameter of the model": (WithParameter, vectors, "functional", "the model itself (WithParameter) owns parameters"),
    "tied weights": (tied, tokens, "functional", "words.weight and head.weight are one shared parameter"),
    "attention": (attending, sequences, "functional", "attention (MultiheadAttention) owns parameters"),
    "a transformer": (
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), nn.Flatten(), nn.Linear(24, N_CLASSES)
        ),
        sequences, "functional", "0.self_attn (MultiheadAttention) owns parameters",
    ),
    "inputs changed in place": (
        lambda: three(changed_in_place), vectors, "functional", "input of layer 'fc2' is changed in place",
    ),
    "no gradient inside": (lambda: three(without_grad), vectors, "functional", "RuntimeError"),
    "sequences first, as many as examples": (
        lambda: Model(lambda m, x: m.mlp(x.transpose(0, 1)).mean(0), mlp=mlp()),
        lambda: sequences(3, 3), "functional", "layer 'mlp.0' differs from plain autograd",
    ),
    "positions without a row, as many as examples": (
        lambda: positions(lambda at: at, 3), lambda: tokens(3, 3), "functional", "layer 'places' differs from plain",
    ),
    "a convolution over folded frames": (
        lambda: Model(frames, conv=nn.Conv2d(1, 2, 2), norm=nn.BatchNorm2d(2), head=nn.Linear(16, N_CLASSES)),
        sequences, "functional", "layer 'conv' runs on 12 rows for 3 examples",
    ),
    "gradients divided by the frequency of words": (
        lambda: nn.Sequential(nn.Embedding(7, 2, scale_grad_by_freq=True), nn.Flatten(), nn.Linear(12, N_CLASSES)),
        tokens, "functional", "0 (Embedding) renormalises its rows while it runs, or scales",
    ),
    "control flow by values": (lambda: WithParameter(checked=True), vectors, "loop", "no functional: RuntimeError: vmap"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet implemented the batching rule")
@pytest.mark.parametrize("name", UNHOOKABLE)
def test_where_hooks_cannot_follow_another_way_is_right_and_the_reason_names_the_layer(name: str):
    build, inputs_of, way, reason = UNHOOKABLE[name]
    model, inputs, asked = made(build, inputs_of)
    computer = computer_of(model, inputs, asked)
    assert computer.path == way
    assert reason in computer.reason
    assert_equals_the_oracle(computer.compute(model.state_dict(), inputs, asked), model, inputs, asked)


@pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet implemented the batching rule")
def test_a_layer_that_is_used_past_its_module_shows_in_its_gradient():
    """out_proj is a Linear whose forward never runs: attention takes its weights."""
    computer = computer_of(*made(attending, sequences), patterns="attention.out_proj.*")
    assert computer.path == "functional"
    assert "no hooks: the gradient of layer 'attention.out_proj' differs from plain autograd" in computer.reason


@pytest.mark.parametrize(("way", "checked"), [("hooks", False), ("functional", True)])
def test_a_way_that_is_asked_for_and_cannot_work_is_refused(way: str, checked: bool):
    with pytest.raises(InvalidSettingError, match=rf"gradients='{way}' does not work .*no {way}: .*gradients='auto'"):
        computer_of(*made(lambda: WithParameter(checked)), way)


def test_an_unknown_way_is_refused():
    with pytest.raises(InvalidSettingError, match="must be auto, hooks, functional, loop"):
        computer_of(*made(mlp), "magic")


@pytest.mark.parametrize(
    "mix",
    [
        lambda: nn.BatchNorm1d(6, track_running_stats=False),
        lambda: Model(lambda _, x: x - x.mean(0)),
    ],
)
def test_a_model_that_mixes_examples_is_refused(mix: Build):
    with pytest.raises(InvalidModelError, match=r"alone.*use BatchNorm with track_running_stats=True"):
        computer_of(*made(lambda: nn.Sequential(nn.Linear(6, 6), mix(), nn.Linear(6, N_CLASSES))))


def test_a_model_that_draws_random_numbers_is_refused():
    with pytest.raises(InvalidModelError, match="other outputs when it sees the same examples again"):
        computer_of(*made(lambda: Model(lambda m, x: m.fc(x + torch.rand(())), fc=nn.Linear(6, N_CLASSES))))


def test_a_way_chosen_on_one_example_holds_for_many():
    """On one example alone, positions without a row look like positions of that example."""
    model, inputs, asked = made(lambda: positions(lambda at: at, 6), lambda: tokens(3))
    computer = computer_of(model, inputs[:1], asked[:1])
    assert_equals_the_oracle(computer.compute(model.state_dict(), inputs, asked), model, inputs, asked)


@pytest.mark.parametrize("way", ["hooks", "functional", "loop"])
def test_a_model_put_into_training_mode_gives_the_same_gradients(way: str):
    model, inputs, asked = made(residual)
    computer = computer_of(model, inputs, asked, way)
    model.train()
    assert_equals_the_oracle(computer.compute(model.state_dict(), inputs, asked), model, inputs, asked)
