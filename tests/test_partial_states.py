"""Checkpoints that hold what was trained alone: the frozen rest is the model's own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import trak_core as tc
from trak_core.errors import CheckpointMismatchError, InvalidSettingError
from trak_core.gradients import GradientComputer, Precision, StateDict, find_layers, form
from trak_core.tasks import Classification, at_weights
from trak_core.training.ensemble import Ensemble
from trak_core.training.states import fitting_state

TASK = Classification()


def net(seed: int = 0, *, is_tied: bool = False) -> nn.Sequential:
    """A frozen body with BatchNorm statistics, and a head that is trained."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
    body[1].running_mean = torch.rand(6)
    body.requires_grad_(False)
    head = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False), nn.Linear(6, 3))
    if is_tied:
        head[1].weight = head[0].weight
    return nn.Sequential(body, head).eval()


def examples(n: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=generator), torch.arange(n) % 3


def trained(model: nn.Module, seed: int) -> StateDict:
    """The trained parameters alone, at other values."""
    torch.manual_seed(seed)
    named = model.named_parameters()
    return {name: torch.randn(each.shape) for name, each in named if each.requires_grad}


def whole(model: nn.Module, partial: StateDict) -> StateDict:
    return {name: partial.get(name, value).clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("precision", "way"), [("float32", "hooks"), ("float32", "functional"), ("float32", "loop"), ("bfloat16", "hooks")]
)
def test_gradients_are_those_of_the_whole_weights(precision: Precision, way: str):
    model, (inputs, labels) = net(), examples()
    partial = trained(model, 1)
    computer = GradientComputer(model, TASK, find_layers(model), precision)
    computer.choose(partial, inputs, labels, way)
    given = computer.compute(partial, inputs, labels)
    expected = computer.compute(whole(model, partial), inputs, labels)
    assert {each.layer.name for each in given.layers} == {"1.0", "1.1", "1.2"}
    torch.testing.assert_close(given.model_output, expected.model_output, rtol=0, atol=0)
    for one, other in zip(given.layers, expected.layers, strict=True):
        torch.testing.assert_close(form(one), form(other), rtol=0, atol=0)


def test_the_rest_comes_in_the_precision_of_what_is_given():
    model = net().double()
    inputs, _ = examples()
    partial = {name: value.double() for name, value in trained(model, 1).items()}
    single = net()
    single[0][1].double()
    outputs = at_weights(single, partial)(inputs.double())
    torch.testing.assert_close(outputs, at_weights(model, partial)(inputs.double()))


def test_a_shared_weight_may_come_under_any_of_its_names():
    model = net(is_tied=True)
    inputs, labels = examples()
    named = trained(model, 1)
    other = {name.replace("1.0.weight", "1.1.weight"): value for name, value in named.items()}
    assert named.keys() != other.keys()
    computer = GradientComputer(model, TASK, find_layers(model))
    computer.choose(named, inputs, labels)
    one, two = (computer.compute(state, inputs, labels) for state in (named, other))
    torch.testing.assert_close(one.outputs, two.outputs, rtol=0, atol=0)
    torch.testing.assert_close(form(one.layers[0]), form(two.layers[0]), rtol=0, atol=0)


@pytest.mark.parametrize("together", [True, False])
def test_an_ensemble_has_the_body_once_and_gives_the_outputs_of_whole_models(together: bool):
    model, (inputs, _) = net(), examples()
    partials = [trained(model, seed) for seed in (1, 2)]
    ensemble = Ensemble.from_state_dicts(model, partials, "cpu", together)
    outputs = ensemble.outputs(TASK, inputs)
    assert ensemble.state_dict(0).keys() == partials[0].keys()
    for given, partial in zip(outputs, partials, strict=True):
        expected = at_weights(model, whole(model, partial))(inputs)
        torch.testing.assert_close(given, expected.detach(), rtol=1e-5, atol=1e-6)


def test_an_attributor_takes_checkpoints_without_the_frozen_body(tmp_path: Path):
    """From memory and from files; whoever changes the body later changes nothing."""
    model, data = net(), examples(20)
    partials = [trained(model, seed) for seed in (1, 2)]
    save_file(partials[1], tmp_path / "head.safetensors")
    scores = []
    for checkpoints in ([whole(model, each) for each in partials], [partials[0], tmp_path / "head.safetensors"]):
        with tc.Attributor(model, TASK, checkpoints=checkpoints, progress=False) as attributor:
            if len(scores) == 1:
                with torch.no_grad():
                    model[0][0].weight.zero_()
            scores.append(attributor.fit(data).score(data))
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-5, atol=1e-6 * abs(scores[0]).max())


def test_what_was_trained_must_be_there():
    model, partial = net(), trained(net(), 1)
    del partial["1.2.bias"]
    with pytest.raises(CheckpointMismatchError, match=r"missing: 1\.2\.bias of shape \(3,\)\."):
        tc.Attributor(model, TASK, checkpoints=[partial], progress=False)
    with pytest.raises(CheckpointMismatchError, match=r"missing: 1\.2\.bias of shape \(3,\)\."):
        fitting_state(partial, model, "train_model(3 indices, seed 0)")


def test_nothing_may_be_left_out_where_all_is_trained_or_all_frozen():
    for is_trained in (True, False):
        model = net().requires_grad_(is_trained)
        with pytest.raises(CheckpointMismatchError, match=r"missing: 0\.0\.weight of shape"):
            tc.Attributor(model, TASK, checkpoints=[trained(net(), 1)], progress=False)


def test_a_trainer_of_ones_own_may_return_what_it_trained():
    model, partial = net(), trained(net(), 1)
    found = fitting_state(partial, model, "train_model(3 indices, seed 0)")
    assert found.keys() == partial.keys()
    assert all(torch.equal(found[name], value) for name, value in partial.items())


def test_an_adapter_that_was_loaded_for_inference_does_not_make_its_base_the_thing_explained():
    """peft freezes everything then, and nothing says which parameters were trained."""
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(net(), peft.LoraConfig(r=2, target_modules=["1.0"]))
    assert {layer.name.rpartition("lora_")[1] for layer in find_layers(model)} == {"lora_"}
    model.requires_grad_(False)
    with pytest.raises(InvalidSettingError, match="is_trainable=True"):
        find_layers(model)
    assert find_layers(model, "*lora_*")
