"""Gradients of every way against one backward pass for each example, in float64."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.oracles import backward_gradients
from tests.zoo import (
    HOOKABLE,
    N_CLASSES,
    Build,
    Model,
    N,
    Undifferentiable,
    WithParameter,
    convolutions,
    images,
    inplace,
    made,
    mlp,
    of_words,
    positions,
    residual,
    sequences,
    three,
    tokens,
    vectors,
)
from trak_core.errors import InvalidModelError, InvalidSettingError
from trak_core.gradients import (
    BatchGradients,
    GradientComputer,
    Inputs,
    TableRows,
    find_layers,
    form,
    n_parameters,
    representations,
    take,
)
from trak_core.projection import WholeMap
from trak_core.tasks import Classification, Regression

TASK = Classification()
# float64: what differs is only the order of sums over a few hundred numbers.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),  # torch's, about its memory
]


def computer_of(
    model: nn.Module, inputs: Inputs, targets: Tensor, way: str = "auto", patterns: str | list[str] | None = None
) -> GradientComputer:
    computer = GradientComputer(model, TASK, find_layers(model, patterns), "float64")
    computer.choose(model.state_dict(), inputs, targets, way)
    return computer


def assert_equals_the_oracle(gradients: BatchGradients, model: nn.Module, inputs: Inputs, targets: Tensor) -> None:
    expected = backward_gradients(model, TASK, inputs, targets)
    for each in gradients.layers:
        torch.testing.assert_close(form(each).T, expected[each.layer.name], **TOLERANCE)


@pytest.mark.parametrize("name", HOOKABLE)
def test_hooks_are_chosen_and_give_the_gradients_of_one_backward_pass_an_example(name: str):
    model, inputs, targets = made(*HOOKABLE[name])
    computer = computer_of(model, inputs, targets)
    gradients = computer.compute(model.state_dict(), inputs, targets)
    assert (computer.path, computer.reason) == ("hooks", "every selected layer allows it")
    assert_equals_the_oracle(gradients, model, inputs, targets)
    outputs = model(inputs).detach()
    torch.testing.assert_close(gradients.outputs, outputs, **TOLERANCE)
    torch.testing.assert_close(gradients.model_output, TASK.model_output(outputs, targets), **TOLERANCE)
    torch.testing.assert_close(gradients.q, TASK.out_to_loss(outputs, targets), **TOLERANCE)


@pytest.mark.parametrize("name", HOOKABLE)
def test_what_positions_carry_adds_up_for_every_kind_of_layer(name: str):
    """Not only in language models: what has no position of the input is spread over all."""
    model, inputs, targets = made(*HOOKABLE[name])
    computer = computer_of(model, inputs, targets)
    torch.manual_seed(2)
    direction = torch.randn(n_parameters(computer.layers)).double()
    carried = computer.by_token(model.state_dict(), inputs, targets, direction)
    expected = whole(computer.compute(model.state_dict(), inputs, targets)) @ direction
    torch.testing.assert_close(carried.total, expected, **TOLERANCE)


OTHER_WAYS = [(name, way) for name in HOOKABLE for way in ("functional", "loop")]
OTHER_WAYS.remove(("sparse embedding", "functional"))  # torch.func.vmap has no rule for sparse gradients


@pytest.mark.parametrize(("name", "way"), OTHER_WAYS)
def test_the_other_ways_give_the_same_gradients(name: str, way: str):
    model, inputs, targets = made(*HOOKABLE[name])
    computer = computer_of(model, inputs, targets, way)
    assert computer.path == way
    assert_equals_the_oracle(computer.compute(model.state_dict(), inputs, targets), model, inputs, targets)


@settings(max_examples=20, deadline=None, derandomize=True)
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
    model, inputs, targets = made(lambda: convolutions(conv), lambda: torch.randn(3, 4, *[7, 5][:dims]))
    gradients = computer_of(model, inputs, targets, "hooks").compute(model.state_dict(), inputs, targets)
    assert_equals_the_oracle(gradients, model, inputs, targets)


def attending() -> nn.Module:
    attention = nn.MultiheadAttention(6, 2, batch_first=True)
    return Model(lambda m, x: m.head(m.att(x, x, x)[0].mean(1)), att=attention, head=nn.Linear(6, N_CLASSES))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(24, N_CLASSES))


def tied_norms() -> nn.Module:
    first, second = nn.LayerNorm(6), nn.LayerNorm(6)
    second.weight = first.weight
    return Model(lambda m, x: m.head(m.second(m.first(x).exp())), first=first, second=second, head=nn.Linear(6, 3))


def stacked() -> nn.Module:
    """Rows looked up once and then stacked, so that nothing shows where the examples part."""

    def run(m: Model, x: Tensor) -> Tensor:
        return m.head(torch.tanh(m.words(x) + torch.stack([m.places(torch.arange(6))] * len(x))).mean(1))

    return Model(run, words=nn.Embedding(9, 4), places=nn.Embedding(7, 4), head=nn.Linear(4, N_CLASSES))


def without_grad(m: Model, x: Tensor) -> Tensor:
    with torch.no_grad():
        hidden = m.fc1(x)
    return m.head(torch.tanh(hidden + m.fc2(x)))


UNHOOKABLE: dict[str, tuple[Build, Callable[[], Tensor], str]] = {
    "a parameter of the model": (WithParameter, vectors, "the model itself (WithParameter) owns parameters"),
    "attention": (attending, sequences, "layer 'att' (MultiheadAttention) gives a tuple"),
    "transformer": (transformer, sequences, "layer '0.self_attn' (MultiheadAttention) gives a tuple"),
    "tied norms": (tied_norms, vectors, "first.weight and second.weight are one shared parameter"),
    "stacked by the batch": (stacked, tokens, "layer 'places' differs from plain autograd"),
    "no gradient inside": (lambda: three(without_grad), vectors, "RuntimeError"),
    "sequences first": (
        lambda: Model(lambda m, x: m.mlp(x.transpose(0, 1)).mean(0), mlp=mlp()),
        lambda: sequences(3, 3),
        "layer 'mlp.0' differs from plain autograd",
    ),
    "by frequency": (lambda: of_words(scale_grad_by_freq=True), tokens, "0 (Embedding) renormalises its rows"),
    "control flow by values": (lambda: WithParameter(checked=True), vectors, "no functional: RuntimeError: vmap"),
}


@pytest.mark.parametrize("name", UNHOOKABLE)
def test_where_hooks_cannot_follow_another_way_is_right_and_the_reason_names_the_layer(name: str):
    build, inputs_of, reason = UNHOOKABLE[name]
    model, inputs, targets = made(build, inputs_of)
    computer = computer_of(model, inputs, targets)
    assert computer.path == ("loop" if name == "control flow by values" else "functional")
    assert reason in computer.reason
    assert_equals_the_oracle(computer.compute(model.state_dict(), inputs, targets), model, inputs, targets)


def test_examples_that_a_model_treats_in_other_ways_go_in_batches_of_their_own():
    """`vmap` would follow one way for all of them."""

    def run(m: Model, x: Tensor) -> Tensor:
        hidden = m.first(x)
        if (x[:, :1] > 0).all():
            hidden = hidden * 2
        return m.head(torch.tanh(hidden) if x[0, 1] > 0 else hidden)

    model, inputs, targets = made(lambda: Model(run, first=nn.Linear(6, 2), head=nn.Linear(2, N_CLASSES)))
    inputs[:, :2] = torch.tensor([[1, 1], [-1, 1], [1, -1], [1, 1], [-1, -1]])
    computer = GradientComputer(model, TASK, find_layers(model), "float64")
    computer.path = "functional"
    gradients = computer.compute(model.state_dict(), inputs, targets)
    expected = backward_gradients(model, TASK, inputs, targets)
    outputs = torch.cat([model(one[None]) for one in inputs]).detach()
    torch.testing.assert_close(gradients.outputs, outputs, **TOLERANCE)
    for each in gradients.layers:
        torch.testing.assert_close(form(each).T, expected[each.layer.name], **TOLERANCE)


def test_a_layer_that_is_used_past_its_module_shows_in_its_gradient():
    """out_proj is a Linear whose forward never runs: attention takes its weights."""
    computer = computer_of(*made(attending, sequences), patterns="att.out_proj.*")
    assert computer.path == "functional"
    assert "no hooks: the gradient of layer 'att.out_proj' differs from plain autograd" in computer.reason


@pytest.mark.parametrize(("way", "checked"), [("hooks", False), ("functional", True)])
def test_a_way_that_is_asked_for_and_cannot_work_is_refused(way: str, checked: bool):
    with pytest.raises(InvalidSettingError, match=rf"gradients='{way}' does not work .*no {way}: .*gradients='auto'"):
        computer_of(*made(lambda: WithParameter(checked)), way)


def test_an_unknown_way_is_refused():
    with pytest.raises(InvalidSettingError, match="must be auto, hooks, functional, loop"):
        computer_of(*made(mlp), "magic")


BATCH_NORM = nn.BatchNorm1d(6, track_running_stats=False)


@pytest.mark.parametrize("mix", [lambda: BATCH_NORM, lambda: Model(lambda _, x: x - x.mean(0))])
def test_a_model_that_mixes_examples_is_refused(mix: Build):
    with pytest.raises(InvalidModelError, match=r"alone.*use BatchNorm with track_running_stats=True"):
        computer_of(*made(lambda: nn.Sequential(nn.Linear(6, 6), mix(), nn.Linear(6, N_CLASSES))))


def test_a_model_that_draws_random_numbers_is_refused():
    with pytest.raises(InvalidModelError, match="other outputs when it sees the same examples again"):
        computer_of(*made(lambda: Model(lambda m, x: m.fc(x + torch.rand(())), fc=nn.Linear(6, N_CLASSES))))


def test_a_way_chosen_on_one_example_holds_for_many():
    """On one example alone, positions without a row look like positions of that example."""
    model, inputs, targets = made(lambda: positions(lambda at: at, 6), lambda: tokens(3))
    computer = computer_of(model, inputs[:1], targets[:1])
    assert_equals_the_oracle(computer.compute(model.state_dict(), inputs, targets), model, inputs, targets)


ONCE_FOR_ALL = [
    *("positions in one row", "positions for each", "relative positions", "grid", "own kinds", "tied twice"),
    *("positions repeated", "repeated positions", "words in parts"),
]


@pytest.mark.parametrize("name", ONCE_FOR_ALL)
def test_batches_as_long_as_any_other_dimension_are_not_taken_for_it(name: str, caplog: pytest.LogCaptureFixture):
    """Batches of 1 to 8 examples meet 4 and 6 positions, 4 channels and 6 pixels; none falls back to a loop."""
    model, inputs, asked = made(*HOOKABLE[name])
    computer = computer_of(model, inputs, asked)
    for n in range(1, 9):
        where = torch.arange(n) % N
        part, of_part = inputs[where], asked[where.flip(0)]
        assert_equals_the_oracle(computer.compute(model.state_dict(), part, of_part), model, part, of_part)
    assert computer.path == "hooks"
    assert "one example at a time" not in caplog.text


@pytest.mark.parametrize("way", ["hooks", "functional", "loop"])
def test_a_model_put_into_training_mode_gives_the_same_gradients(way: str):
    model, inputs, targets = made(residual)
    computer = computer_of(model, inputs, targets, way)
    model.train()
    assert_equals_the_oracle(computer.compute(model.state_dict(), inputs, targets), model, inputs, targets)


def test_one_output_of_regression_has_the_gradients_of_the_oracle():
    model, inputs, _ = made(lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1)))
    task, targets = Regression(), torch.linspace(-1, 1, N, dtype=torch.float64)
    computer = GradientComputer(model, task, find_layers(model), "float64")
    computer.choose(model.state_dict(), inputs, targets)
    expected = backward_gradients(model, task, inputs, targets)
    for each in computer.compute(model.state_dict(), inputs, targets).layers:
        torch.testing.assert_close(form(each).T, expected[each.layer.name], **TOLERANCE)


def test_bert_runs_on_hooks_with_padding_and_an_attention_mask():
    transformers = pytest.importorskip("transformers", reason="Hugging Face models need the package transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=100, num_labels=N_CLASSES, **sizes)
    model = transformers.BertForSequenceClassification(config).eval().double()
    mask = (torch.arange(7) < torch.tensor([7, 3, 5, 1, 6])[:, None]).long()
    inputs = {"input_ids": torch.randint(1, 100, (N, 7)) * mask, "attention_mask": mask}
    targets = torch.arange(N) % N_CLASSES
    computer = computer_of(model, inputs, targets)
    assert (computer.path, computer.factored) == ("hooks", {"bert.pooler.dense", "classifier"})
    assert_equals_the_oracle(computer.compute(model.state_dict(), inputs, targets), model, inputs, targets)


PATTERNS = [
    ("3.*", [("3", ("3.weight", "3.bias"))]),
    (["3.bias", "5.weight"], [("3", ("3.bias",)), ("5", ("5.weight",))]),
]


@pytest.mark.parametrize("way", ["hooks", "functional", "loop"])
@pytest.mark.parametrize(("patterns", "expected"), PATTERNS)
def test_only_selected_parameters_have_gradients_and_nothing_before_them_is_differentiated(
    patterns: str | list[str], expected: list[tuple[str, tuple[str, ...]]], way: str
):
    def build(between: Callable[[Model, Tensor], Tensor]) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 4), Model(between), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))

    model, inputs, targets = made(lambda: build(lambda _, x: Undifferentiable.apply(x)))
    plain = made(lambda: build(lambda _, x: x))[0]
    layers = computer_of(model, inputs, targets, way, patterns).compute(model.state_dict(), inputs, targets).layers
    assert [(each.layer.name, each.layer.parameters) for each in layers] == expected
    oracle = backward_gradients(plain, TASK, inputs, targets)
    for each in layers:
        whole = oracle[each.layer.name].reshape(N, each.layer.n_rows, -1)
        keep = slice(0 if each.layer.has_weight else -1, None if each.layer.has_bias else -1)
        torch.testing.assert_close(form(each).T, whole[:, :, keep].flatten(1), **TOLERANCE)
    with pytest.raises(AssertionError, match="before the first selected layer"):
        backward_gradients(model, TASK, inputs, targets)


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(InvalidSettingError, match=r"parameters='fc\*' matches none of the 5 parameters \(0.weight"):
        find_layers(mlp(), "fc*")


@pytest.mark.parametrize("patterns", ["spare.*", "norm.*"])
@pytest.mark.parametrize("way", ["hooks", "functional", "loop"])
def test_parameters_without_a_part_in_the_output_have_a_gradient_of_zero(patterns: str, way: str):
    model, inputs, targets = made(
        lambda: Model(lambda m, x: m.head(x), head=nn.Linear(6, 3), spare=nn.Linear(2, 7), norm=nn.LayerNorm(5))
    )
    (layer,) = computer_of(model, inputs, targets, way, patterns).compute(model.state_dict(), inputs, targets).layers
    assert torch.equal(form(layer), torch.zeros(layer.layer.size, N, dtype=torch.float64))


@pytest.mark.parametrize("way", ["hooks", "functional", "loop"])
def test_mixed_precision_ends_at_the_gradients(way: str):
    """The model runs in bfloat16, which keeps eight bits; gradients are float32 numbers all the same."""
    model, inputs, targets = made(inplace, images)
    expected = backward_gradients(model, TASK, inputs, targets)
    model, inputs = model.float(), inputs.float()
    computer = GradientComputer(model, TASK, find_layers(model), "bfloat16")
    computer.choose(model.state_dict(), inputs, targets, way)
    for each in computer.compute(model.state_dict(), inputs, targets).layers:
        assert form(each).dtype == torch.float32
        error = (form(each).T - expected[each.layer.name]).abs().max() / expected[each.layer.name].abs().max()
        assert error < 0.1


def packed_case() -> tuple[WholeMap, list[BatchGradients]]:
    """Gradients of N train and N - 2 test examples: layers with one and with many outer products, and norms."""
    model, inputs, targets = made(inplace, images)
    computer = computer_of(model, inputs, targets)
    batches = [
        computer.compute(model.state_dict(), take(inputs, part), targets[part]) for part in (slice(N), slice(2, N))
    ]
    return WholeMap(computer.layers, computer.factored), batches


def whole(gradients: BatchGradients) -> Tensor:
    return torch.cat([form(each) for each in gradients.layers]).T


def test_packed_rows_are_shorter_and_keep_all_inner_products_and_norms():
    packed, (train, test) = packed_case()
    rows, test_rows = packed.rows(train.layers)[0], packed.rows(test.layers)[0]
    assert packed.factored == {"2.0", "3"}
    assert rows.shape == (N, packed.width)
    assert packed.width == n_parameters(packed.layers) - (5 * 49 + 3 * 6) + (5 + 49 + 3 + 6)
    torch.testing.assert_close(packed.inner_products(test_rows, rows), whole(test) @ whole(train).T, **TOLERANCE)
    torch.testing.assert_close(packed.squared_norms(rows), (whole(train) ** 2).sum(1), **TOLERANCE)


def test_packed_rows_unpack_to_the_same_gradients():
    packed, (train, _) = packed_case()
    rows = packed.rows(train.layers)[0]
    unpacked = packed.unpack(rows)
    for each, original in zip(unpacked, train.layers, strict=True):
        torch.testing.assert_close(form(each), form(original), **TOLERANCE)
    assert torch.equal(packed.rows(unpacked)[0], rows)


def test_a_factored_layer_that_runs_at_several_positions_later_is_refused():
    model, inputs, targets = made(lambda: Model(lambda m, x: m.fc(x).flatten(1)[:, :3], fc=nn.Linear(6, 6)))
    computer = computer_of(model, inputs, targets)
    later = computer.compute(model.state_dict(), inputs[:, None].expand(-1, 2, -1), targets)
    with pytest.raises(InvalidModelError, match="'fc' ran once for each example at first"):
        WholeMap(computer.layers, computer.factored).rows(later.layers)


@pytest.mark.parametrize("n_rows", [3, 50])
def test_the_length_of_a_tables_gradient_counts_a_row_once_that_is_looked_up_twice(n_rows: int):
    """With fewer rows than places, and with more."""
    torch.manual_seed(0)
    layer = find_layers(nn.Embedding(n_rows, 2))[0]
    table = TableRows(layer, torch.randint(0, 3, (N, 6)), torch.randn(N, 6, 2).double())
    torch.testing.assert_close(table.lengths, (form(table) ** 2).sum(0), **TOLERANCE)


def test_any_rows_of_a_gradient_can_be_formed_alone():
    """Blocks of projections begin and end anywhere in a layer."""
    for name in ("embedding", "depthwise", "mlp", "linear on sequences"):
        model, inputs, targets = made(*HOOKABLE[name])
        for each in computer_of(model, inputs, targets).compute(model.state_dict(), inputs, targets).layers:
            expected = form(each).reshape(each.layer.n_rows, each.layer.n_columns, N)[1:3]
            out = torch.empty_like(expected).flatten(0, 1)
            each.write(out, 1, 3)
            torch.testing.assert_close(out.view_as(expected), expected, **TOLERANCE)


def test_representations_are_the_inputs_of_the_last_linear_layer():
    model, inputs, _ = made(mlp)
    torch.testing.assert_close(representations(model, model.state_dict(), inputs), model[:4](inputs).detach())


def test_a_model_without_layers_has_no_representations():
    with pytest.raises(InvalidModelError, match="no layer of the model is given a tensor with a row for each example"):
        representations(nn.Flatten(), {"scale": torch.ones(1)}, torch.ones(3, 2))


class Routed(nn.Module):
    """A layer that runs on the positive rows only."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.head = nn.Linear(6, 6), nn.Linear(6, N_CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        picked = inputs[..., 0] > 0
        hidden = torch.zeros_like(inputs)
        hidden[picked] = torch.tanh(self.gate(inputs[picked]))
        return self.head(hidden.mean(1))


def test_rows_that_the_data_picks_are_never_given_to_other_examples():
    """On the examples that hooks are tried on every row is picked, later some: the numbers must still be right."""
    model, inputs, targets = made(Routed, lambda: sequences(8))
    inputs[:3, :, 0] = inputs[:3, :, 0].abs() + 0.1
    inputs[3:, :, 0] = -inputs[3:, :, 0].abs() - 0.1
    inputs[3:7, :, 0] *= -1  # 28 of 32 rows
    inputs[3, 1:, 0] *= -1
    inputs[4, :, 0] *= -1
    inputs[5, :2, 0] *= -1  # 19 rows
    for picked_by in (inputs, inputs[:7], inputs[[0, 1, 3, 6, 7]]):
        n = len(picked_by)
        computer = computer_of(model, inputs[:3], targets[:3])
        assert_equals_the_oracle(
            computer.compute(model.state_dict(), picked_by, targets[:n]), model, picked_by, targets[:n]
        )


def test_weights_that_are_zero_hide_no_wrong_way():
    """With a zero head every gradient behind it is zero, and any way would seem right."""
    model, inputs, targets = made(lambda: three(lambda m, x: m.head(torch.tanh(m.fc1(x) @ m.fc1.weight.T))))
    trained = model.state_dict()
    fresh = {name: torch.zeros_like(value) if "head" in name else value for name, value in trained.items()}
    computer = GradientComputer(model, TASK, find_layers(model), "float64")
    computer.choose(fresh, inputs, targets)
    assert computer.path == "functional"
    assert_equals_the_oracle(computer.compute(trained, inputs, targets), model, inputs, targets)
