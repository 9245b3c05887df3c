"""Models, weights and loaders as people have them: each is right, or refused in one sentence that says what to do."""

import runpy
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

import trak_core as tc
from trak_core.errors import AttributionWarning, InvalidDataError, InvalidModelError, NoLogitsError, TrakCoreError
from trak_core.gradients import GradientComputer, find_layers, form
from trak_core.tasks import Classification, CustomTask

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
N_TRAIN, N_TEST, N_CLASSES = 60, 7, 3
LABELS = torch.arange(N_TRAIN) % N_CLASSES


def run_case(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a script of a case prints."""
    if not (CASES / name).exists():
        pytest.skip(f"the shared case {name} is missing ({CASES})")
    runpy.run_path(str(CASES / name))
    return capsys.readouterr().out


def inputs_of(n: int = N_TRAIN, width: int = 6) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(0))


def scores_of(model: nn.Module, train: Any = None, test: Any = None, **settings: Any) -> np.ndarray:
    """Scores in float64 at weights that are not the model's own."""
    inputs = inputs_of()
    train = (inputs, LABELS) if train is None else train
    test = (inputs[:N_TEST], LABELS[:N_TEST]) if test is None else test
    settings = {"checkpoints": [moved(model)], **settings}
    with tc.Attributor(model, precision="float64", progress=False, **settings) as attributor:
        return attributor.fit(train).score(test)


def moved(model: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: value + 0.3 * torch.randn(value.shape, generator=generator) for name, value in model.state_dict().items()
    }


def assert_same(left: np.ndarray, right: np.ndarray) -> None:
    """float64 that was rounded to float32."""
    assert np.abs(left - right).max() <= 1e-6 * np.abs(right).max()


# --- parameters that require no gradients -----------------------------------------------------------------


def base(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, N_CLASSES))


class Adapted(nn.Module):
    """A frozen Linear layer beside a product of two narrow ones that are trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = base().requires_grad_(False)
        self.down, self.up = nn.Linear(6, 2, bias=False), nn.Parameter(torch.randn(2, N_CLASSES))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.body(inputs) + self.down(inputs) @ self.up


def test_the_case_of_a_frozen_base(capsys):
    assert float(run_case("frozen_base.py", capsys).rsplit(maxsplit=1)[-1]) == 0


@pytest.mark.parametrize(
    ("model", "trained", "told"),
    [
        (lambda: freeze(base(), "0.*"), "2.*", "of 83 parameters 27 require gradients"),
        (lambda: freeze(base(), "*bias"), "*.weight", "of 83 parameters 72 require gradients"),
        (Adapted, ["down.weight", "up"], "of 101 parameters 18 require gradients"),
    ],
    ids=["base", "biases", "adapters"],
)
def test_only_parameters_that_require_gradients_count_and_the_plan_says_so(model, trained, told):
    assert_same(scores_of(model()), scores_of(model(), parameters=trained))
    with tc.Attributor(model(), progress=False) as attributor:
        attributor.fit((inputs_of(), LABELS))
        assert told in str(attributor.plan)


def freeze(model: nn.Module, pattern: str) -> nn.Module:
    for layer in find_layers(model, pattern):
        for name in layer.parameters:
            model.get_parameter(name).requires_grad_(False)
    return model


def test_a_frozen_parameter_that_is_asked_for_counts():
    trained, frozen = scores_of(base()), scores_of(freeze(base(), "0.*"), parameters="*")
    assert_same(frozen, trained)
    with tc.Attributor(freeze(base(), "0.*"), parameters=["0.*"], progress=False) as attributor:
        assert "parameters: 56 of 83, chosen by name" in str(attributor.fit((inputs_of(), LABELS)).plan)


def test_a_model_that_is_frozen_as_a_whole_counts_as_a_whole_and_a_warning_says_so():
    with pytest.warns(AttributionWarning, match=r"none of the model's 83 parameters requires gradients.*parameters="):
        scores = scores_of(base().requires_grad_(False))
    assert_same(scores, scores_of(base()))
    assert_same(scores_of(base().requires_grad_(False), parameters="*"), scores)


# --- activation checkpointing -----------------------------------------------------------------------------


class Checkpointed(nn.Module):
    """Three blocks, some of which are checkpointed, in one way or the other."""

    def __init__(self, *names: str, reentrant: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.middle, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, N_CLASSES)
        self.norm, self.names, self.reentrant = nn.LayerNorm(6), names, reentrant

    def forward(self, inputs: Tensor) -> Tensor:
        blocks = {
            "first": lambda x: torch.relu_(self.first(x)),
            "middle": lambda x: torch.tanh(self.norm(self.middle(x))),
            "head": self.head,
        }
        hidden = inputs
        for name, block in blocks.items():
            hidden = checkpoint(block, hidden, use_reentrant=self.reentrant) if name in self.names else block(hidden)
        return hidden


def test_the_case_of_reentrant_checkpointing(capsys):
    with pytest.raises(TrakCoreError, match=r"'middle.weight' out of sight of autograd, in CheckpointFunction"):
        run_case("reentrant_checkpoint.py", capsys)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
@pytest.mark.parametrize("way", ["auto", "loop", "functional"])
@pytest.mark.parametrize(
    ("names", "parameters"),
    [
        (("first",), None),
        (("middle",), None),
        (("middle",), "norm.*"),
        (("first", "middle", "head"), None),
        (("middle",), "first.*"),
        (("head",), ["first.*", "middle.*"]),
    ],
)
def test_weights_in_or_before_a_reentrant_checkpoint_are_refused(names, parameters, way):
    with pytest.raises(InvalidModelError, match=r"checkpoint.* use_reentrant=False, or switch it off"):
        scores_of(Checkpointed(*names), parameters=parameters, gradients=way)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
def test_weights_after_a_reentrant_checkpoint_are_right():
    assert_same(
        scores_of(Checkpointed("first", "middle"), parameters="head.*"),
        scores_of(Checkpointed(), parameters="head.*"),
    )


@pytest.mark.parametrize("way", ["hooks", "loop"])
@pytest.mark.parametrize("names", [("first",), ("middle",), ("first", "middle", "head")])
def test_checkpoints_that_keep_the_graph_give_the_same_scores(names, way):
    """They run the model once more in the backward pass: at the weights of the checkpoint, not at the model's own."""
    scores = scores_of(Checkpointed(*names, reentrant=False), gradients=way)
    assert_same(scores, scores_of(Checkpointed()))


class Hiding(torch.autograd.Function):
    """Runs a layer without telling autograd of its weights, as reversible networks do."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: nn.Module) -> Tensor:
        ctx.layer = layer
        return layer(inputs)

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, None]:
        return delta @ ctx.layer.weight, None


class Doubling(torch.autograd.Function):
    """A Linear layer of one's own that takes its weight as it should."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return 2 * inputs @ weight.T

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor, Tensor]:
        inputs, weight = ctx.saved_tensors
        return 2 * delta @ weight, 2 * delta.T @ inputs


class Own(nn.Module):
    """A model whose first layer is an autograd Function of one's own."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run, self.first, self.head = run, nn.Linear(6, 6, bias=False), nn.Linear(6, N_CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(self.run(self.first, inputs)))


def test_what_was_made_of_weights_outside_a_reentrant_checkpoint_is_refused_in_it():
    def run(layer: nn.Module, inputs: Tensor) -> Tensor:
        doubled = 2 * layer.weight
        return checkpoint(lambda x: x @ doubled, inputs.clone().requires_grad_(), use_reentrant=True)

    with pytest.raises(InvalidModelError, match=r"what it made of selected weights out of sight of autograd"):
        scores_of(Own(run))


def test_weights_hidden_in_any_autograd_function_are_refused_and_those_it_takes_are_right():
    with pytest.raises(InvalidModelError, match=r"'first.weight' out of sight of autograd, in Hiding.* as inputs"):
        scores_of(Own(lambda layer, x: Hiding.apply(x.requires_grad_(), layer)))
    right = Own(lambda layer, x: Doubling.apply(x, layer.weight))
    assert_same(scores_of(right), scores_of(Own(lambda layer, x: 2 * layer(x))))


# --- outputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (nn.Softmax(-1), "sum to 1"),
        (lambda x: torch.stack([x[:, 0].sigmoid(), 1 - x[:, 0].sigmoid()], 1), "sum to 1"),
        (lambda x: (20 * x).sigmoid(), "lie from 0 to 1"),
    ],
)
def test_probabilities_draw_a_warning_that_names_logits(end, found):
    labels = LABELS % 2
    model = Ended(end)
    with pytest.warns(AttributionWarning, match=rf"returns probabilities: the \d outputs .* {found}.* return logits"):
        scores_of(model, (inputs_of(), labels), (inputs_of(9), labels[:9]))


class Ended(nn.Module):
    """A classifier with an end of one's own."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.end = base(), end

    def forward(self, inputs: Tensor) -> Tensor:
        return self.end(self.body(inputs))


@pytest.mark.parametrize("end", [nn.LogSoftmax(-1), lambda x: x.softmax(-1).log(), lambda x: x + 5])
def test_logarithms_of_probabilities_are_as_good_as_logits(end):
    assert_same(scores_of(Ended(end)), scores_of(Ended(lambda x: x)))


@dataclass
class Output:
    """What diffusion models return."""

    sample: Tensor
    steps: Tensor


class Denoiser(nn.Module):
    """Takes a step beside the inputs and returns an object without logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.steps, self.body = nn.Embedding(4, 6), base()

    def forward(self, inputs: Tensor, step: Tensor) -> Output:
        return Output(self.body(torch.tanh(inputs + self.steps(step))), step)


def at_two_steps(model: Callable[..., Any], inputs: Tensor) -> Tensor:
    return model(inputs, torch.tensor([1])).sample + model(inputs, step=torch.tensor(3)).sample


def margin_of(function: Callable[..., Any] | None) -> CustomTask:
    task = Classification()
    return CustomTask(task.model_output, task.out_to_loss, "read", outputs_function=function)


class TwoSteps(nn.Module):
    """The same as one module that returns logits."""

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = Denoiser()

    def forward(self, inputs: Tensor) -> Tensor:
        return at_two_steps(self.denoiser, inputs)


@pytest.mark.parametrize("way", ["hooks", "functional", "loop"])
def test_a_task_may_read_other_outputs_and_call_the_model_several_times(way):
    """At fixed steps, which are no part of the batch: the table of steps runs once for all examples."""
    model = Denoiser()
    wrapped = TwoSteps()
    wrapped.denoiser.load_state_dict(moved(model))
    scores = scores_of(model, task=margin_of(at_two_steps), gradients=way)
    assert_same(scores, scores_of(wrapped, checkpoints=[wrapped.state_dict()]))


def test_outputs_that_nobody_reads_are_refused_with_the_way_to_read_them():
    class Bare(Denoiser):
        def forward(self, inputs: Tensor) -> Output:
            return super().forward(inputs, torch.tensor([0]))

    with pytest.raises(NoLogitsError, match=r"returns a Output, which has no logits.*outputs_function="):
        scores_of(Bare())
    with pytest.raises(NoLogitsError, match=r"the task reads a Output from the model.*floating-point tensor"):
        scores_of(Bare(), task=margin_of(lambda model, inputs: model(inputs)))
    scores_of(Bare(), task=margin_of(lambda model, inputs: model(inputs).sample))


def test_a_task_without_a_function_for_outputs_reads_logits():
    assert_same(scores_of(base(), task=margin_of(None)), scores_of(base()))


# --- loaders ------------------------------------------------------------------------------------------------


class Pair(nn.Module):
    """Two inputs, by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out = nn.Linear(6, N_CLASSES)

    def forward(self, left: Tensor, right: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.out(torch.cat([left, right], 1))


class Nested(nn.Module):
    """One input, and a pair of others, as recurrent networks take their states."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()

    def forward(self, left: Tensor, others: tuple[Tensor, Tensor]) -> Tensor:
        return self.pair(left, others[0] + others[1])


@dataclass
class Named:
    """A batch as a dataclass."""

    left: Tensor
    right: Tensor
    labels: Tensor | None = None
    scale: Tensor | None = None


LabelFirst = namedtuple("LabelFirst", ["label", "left", "right"])
LEFT, RIGHT = inputs_of(width=3), inputs_of(width=4)[:, :3]


def batches_of(make: Callable[[Tensor, Tensor, Tensor], Any]) -> list[Any]:
    return [make(LEFT[at : at + 16], RIGHT[at : at + 16], LABELS[at : at + 16]) for at in range(0, N_TRAIN, 16)]


def loader_of(make: Callable[[int], Any]) -> "DataLoader[Any]":
    return DataLoader([make(i) for i in range(N_TRAIN)], batch_size=16)


class Encoding(dict[str, Tensor]):
    """A mapping of a kind of its own, as tokenizers give it."""


BY_NAME: dict[str, Callable[[], Any]] = {
    "loader of names and labels": lambda: loader_of(lambda i: ({"left": LEFT[i], "right": RIGHT[i]}, int(LABELS[i]))),
    "dataclasses": lambda: batches_of(Named),
    "dataclasses and labels": lambda: batches_of(lambda a, b, y: (Named(a, b), y)),
    "mapping in a tuple": lambda: batches_of(lambda a, b, y: (Encoding(left=a, right=b, labels=y),)),
    "mapping with an empty place": lambda: batches_of(lambda a, b, y: dict(left=a, right=b, scale=None, label=y)),
    "arrays in a dataclass": lambda: Named(LEFT, RIGHT, LABELS),
}
BY_POSITION: dict[str, Callable[[], Any]] = {
    "loader of pairs": lambda: loader_of(lambda i: ((LEFT[i], RIGHT[i]), int(LABELS[i]))),
    "loader of named tuples": lambda: loader_of(lambda i: LabelFirst(int(LABELS[i]), LEFT[i], RIGHT[i])),
    "lists": lambda: batches_of(lambda a, b, y: [[a, b], y]),
    "flat": lambda: batches_of(lambda a, b, y: (a, b, y)),
    "arrays in a tuple": lambda: ((LEFT.numpy(), RIGHT), LABELS),
    "arrays in a list": lambda: ([LEFT, RIGHT.numpy()], LABELS.numpy()),
}


def test_the_case_of_a_nested_loader(capsys):
    run_case("nested_loader.py", capsys)


@pytest.mark.parametrize("name", [*BY_NAME, *BY_POSITION])
def test_inputs_may_come_nested_in_any_form(name):
    test = LEFT[:N_TEST], RIGHT[:N_TEST]
    expected = scores_of(Pair(), ((LEFT, RIGHT), LABELS), (test, LABELS[:N_TEST]))
    if name in BY_NAME:
        test = dict(left=test[0], right=test[1])
    assert_same(scores_of(Pair(), (BY_NAME | BY_POSITION)[name](), (test, LABELS[:N_TEST])), expected)


def test_tuples_inside_tuples_reach_the_model_as_tuples():
    loader = loader_of(lambda i: ((LEFT[i], (RIGHT[i], LEFT[i])), int(LABELS[i])))
    test = ((LEFT[:N_TEST], (RIGHT[:N_TEST], LEFT[:N_TEST])), LABELS[:N_TEST])
    assert_same(scores_of(Nested(), loader, test), scores_of(Nested(), ((LEFT, (RIGHT, LEFT)), LABELS), test))


def test_a_model_output_of_hugging_face_is_a_batch_like_any_mapping():
    transformers = pytest.importorskip("transformers", reason="Hugging Face's mappings need the package transformers")
    test = ({"left": LEFT[:N_TEST], "right": RIGHT[:N_TEST]}, LABELS[:N_TEST])
    expected = scores_of(Pair(), ({"left": LEFT, "right": RIGHT}, LABELS), test)
    encoding = transformers.BatchEncoding({"left": LEFT, "right": RIGHT, "labels": LABELS})
    assert_same(scores_of(Pair(), encoding, test), expected)
    assert_same(scores_of(Pair(), [(encoding,)], test), expected)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (["one", "two"], r"train inputs are of type <U3"),
        (({"left": LEFT, "right": "text"}, LABELS), r"train inputs 'right' are of type <U4"),
        (((LEFT, RIGHT[:5]), LABELS), r"lengths \[5, 60\]"),
        (({"left": LEFT, "at": torch.tensor(3)}, LABELS), r"a single number among its inputs"),
    ],
)
def test_inputs_that_are_no_batch_are_refused(batch, message):
    with pytest.raises(InvalidDataError, match=message):
        scores_of(Pair(), [batch])


# --- several at once ----------------------------------------------------------------------------------------


def test_a_network_with_everything_has_the_gradients_of_a_loop():
    """A frozen base, shared weights, positions looked up once, checkpoints that keep the graph, nested inputs."""

    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places, self.head = nn.Embedding(9, 4), nn.Embedding(6, 4), nn.Linear(4, 9)
            self.body = nn.Linear(4, 4).requires_grad_(False)
            self.head.weight = self.words.weight

        def forward(self, tokens: Tensor, shift: Tensor) -> Tensor:
            hidden = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
            hidden = checkpoint(lambda x: torch.tanh(self.body(x)), hidden, use_reentrant=False)
            return self.head(hidden.mean(1) + shift)

    torch.manual_seed(0)
    model = Everything().double()
    inputs = torch.randint(0, 9, (8, 6)), torch.randn(8, 4, dtype=torch.float64)
    labels = torch.arange(8) % 9
    weights = {name: value.double() for name, value in moved(model).items()}
    weights["head.weight"] = weights["words.weight"]
    rows = []
    for way in ("hooks", "loop"):
        computer = GradientComputer(model, Classification(), find_layers(model), "float64")
        computer.choose(weights, inputs, labels, way)
        rows.append(torch.cat([form(each) for each in computer.compute(weights, inputs, labels).layers]))
    torch.testing.assert_close(*rows, rtol=1e-9, atol=1e-12)
    assert len(rows[0]) == sum(each.numel() for each in model.parameters() if each.requires_grad)
