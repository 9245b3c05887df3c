"""Per-example gradients against a loop with one backward pass an example, in float64."""

import pytest
import torch
from torch import nn

from tests.oracles import loop_gradients
from trak_core.errors import InvalidSettingError
from trak_core.gradients import (
    gradient_factors,
    gradient_path,
    inner_products,
    per_example_gradients,
    representations,
)
from trak_core.tasks import Classification

TASK = Classification()
# float64: what differs is only the order of sums over a few hundred numbers.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 5, bias=False), nn.Tanh(), nn.Linear(5, 4)).double()


def cnn() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4)
    ).double()


def examples(n: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, 6, generator=generator, dtype=torch.float64), torch.arange(n) % 4


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in model.named_parameters()}


@pytest.mark.parametrize("make", [mlp, cnn])
def test_functional_gradients_equal_a_loop(make):
    model, (inputs, asked) = make(), examples()
    torch.testing.assert_close(
        per_example_gradients(model, weights(model), TASK, inputs, asked),
        loop_gradients(model, weights(model), inputs, asked),
        **TOLERANCE,
    )


@pytest.mark.parametrize(("make", "path"), [(mlp, "factored"), (cnn, "functional")])
def test_inner_products_equal_those_of_a_loop_by_the_path_that_is_reported(make, path):
    model = make()
    (inputs, asked), (test_inputs, test_asked) = examples(9), examples(5)
    assert gradient_path(model, weights(model)) == path
    product = inner_products(
        gradient_factors(model, weights(model), TASK, test_inputs, test_asked),
        gradient_factors(model, weights(model), TASK, inputs, asked),
    )
    train = loop_gradients(model, weights(model), inputs, asked)
    test = loop_gradients(model, weights(model), test_inputs, test_asked)
    assert product.shape == (5, 9)
    torch.testing.assert_close(product, test @ train.T, **TOLERANCE)


def test_gradients_do_not_depend_on_the_batch_they_are_in():
    model, (inputs, asked) = mlp(), examples()
    whole = per_example_gradients(model, weights(model), TASK, inputs, asked)
    parts = [
        per_example_gradients(model, weights(model), TASK, inputs[i : i + 2], asked[i : i + 2]) for i in (0, 2, 4, 6, 8)
    ]
    torch.testing.assert_close(whole, torch.cat(parts), **TOLERANCE)


def test_a_layer_that_runs_twice_is_refused():
    layer = nn.Linear(4, 4).double()
    model = nn.Sequential(layer, nn.ReLU(), layer)
    inputs, asked = torch.ones(3, 4, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(InvalidSettingError, match="runs more than once"):
        gradient_factors(model, weights(model), TASK, inputs, asked)


def test_representations_are_the_inputs_of_the_last_linear_layer():
    model, (inputs, _) = mlp(), examples()
    torch.testing.assert_close(representations(model, weights(model), inputs), model[:4](inputs).detach())


def test_a_model_without_linear_layers_has_no_representations():
    with pytest.raises(InvalidSettingError, match="no Linear layer"):
        representations(nn.Sequential(nn.ReLU()), {}, torch.ones(1, 2))
