"""Tasks against their definitions, in float64: the output f, the weight q = -dL/df, and what they refuse."""

import pytest
import torch
from torch import Tensor

from trak_core.errors import InvalidSettingError, LabelError, NoLogitsError
from trak_core.tasks import TASKS, Classification, CustomTask, Regression, Task, find_task

CLASSIFICATION, REGRESSION = Classification(), Regression()
STEP = 1e-5
# Central differences in float64: STEP^2 from the third derivative, and 1e-16 / STEP from rounding.
DIFFERENCES = {"rtol": 1e-8, "atol": 1e-9}
SECOND = CustomTask(lambda outputs, target: outputs[:, 1], lambda outputs, target: target - outputs[:, 1])


def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(7, 5, generator=generator, dtype=torch.float64), torch.arange(7) % 5


def predictions() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    return drawn[0], drawn[1]


def target_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.softmax(-1)[torch.arange(len(targets)), targets]


def test_margins_are_log_odds_of_the_target_class():
    outputs, targets = logits()
    p = target_probabilities(outputs, targets)
    torch.testing.assert_close(CLASSIFICATION.model_output(outputs, targets), torch.log(p / (1 - p)))


def test_q_of_a_class_is_one_minus_its_probability():
    outputs, targets = logits()
    torch.testing.assert_close(CLASSIFICATION.out_to_loss(outputs, targets), 1 - target_probabilities(outputs, targets))


def test_q_keeps_its_digits_where_the_probability_is_one_in_float64():
    """1 - p would be zero here; q is 2 exp(-50) to first order, its square of 1e-43 left out."""
    outputs, targets = torch.tensor([[50.0, 0.0, 0.0]], dtype=torch.float64), torch.tensor([0])
    expected = 2 * torch.exp(torch.tensor([-50.0], dtype=torch.float64))
    torch.testing.assert_close(CLASSIFICATION.out_to_loss(outputs, targets), expected, rtol=1e-12, atol=0)


def test_very_sure_outputs_stay_finite():
    outputs, targets = torch.tensor([[200.0, -200.0], [200.0, -200.0]]), torch.tensor([0, 1])
    assert CLASSIFICATION.model_output(outputs, targets).tolist() == [400.0, -400.0]
    assert CLASSIFICATION.out_to_loss(outputs, targets).tolist() == [0.0, 1.0]


def test_classification_loss_is_cross_entropy():
    outputs, targets = logits()
    expected = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    torch.testing.assert_close(CLASSIFICATION.loss(outputs, targets), expected)


def test_loss_of_a_class_falls_by_q_as_its_margin_grows():
    """The target logit moves the margin one to one, so the difference over a small step is dL/df."""
    outputs, targets = logits()
    step = STEP * torch.nn.functional.one_hot(targets, 5).double()
    higher, lower = (CLASSIFICATION.loss(outputs + sign * step, targets) for sign in (1, -1))
    expected = -CLASSIFICATION.out_to_loss(outputs, targets)
    torch.testing.assert_close((higher - lower) / (2 * STEP), expected, **DIFFERENCES)


@pytest.mark.parametrize(("task", "given"), [(CLASSIFICATION, logits()), (REGRESSION, predictions())])
def test_gradient_of_the_loss_is_minus_q_times_the_gradient_of_the_output(task: Task, given: tuple[Tensor, Tensor]):
    """For all outputs, not the target alone: one store of gradients of f serves every method."""
    outputs, targets = given[0].clone().requires_grad_(), given[1]
    (of_loss,) = torch.autograd.grad(task.loss(outputs, targets).sum(), outputs)
    (of_output,) = torch.autograd.grad(task.model_output(outputs, targets).sum(), outputs)
    q = task.out_to_loss(outputs.detach(), targets).reshape(-1, *[1] * (outputs.dim() - 1))
    torch.testing.assert_close(of_loss, -q * of_output)


def test_loss_of_a_prediction_falls_by_q_as_the_prediction_grows():
    outputs, targets = predictions()
    higher, lower = (REGRESSION.loss(outputs + sign * STEP, targets) for sign in (1, -1))
    expected = -REGRESSION.out_to_loss(outputs, targets)
    torch.testing.assert_close((higher - lower) / (2 * STEP), expected, **DIFFERENCES)


@pytest.mark.parametrize("shape", [(7,), (7, 1)])
def test_regression_takes_predictions_with_and_without_a_column(shape: tuple[int, ...]):
    outputs, targets = predictions()
    REGRESSION.check(outputs.reshape(shape), targets)
    assert torch.equal(REGRESSION.model_output(outputs.reshape(shape), targets), outputs)
    assert torch.equal(REGRESSION.out_to_loss(outputs.reshape(shape), targets), targets - outputs)


def test_a_custom_task_gives_what_its_functions_give():
    outputs, _ = logits()
    _, targets = predictions()
    SECOND.check(outputs, targets)
    assert isinstance(SECOND, Task)
    assert torch.equal(SECOND.model_output(outputs, targets), outputs[:, 1])
    assert torch.equal(SECOND.out_to_loss(outputs, targets), targets - outputs[:, 1])


@pytest.mark.parametrize("wrong", [-1, 5])
def test_a_label_out_of_range_is_refused_with_the_number_of_its_example(wrong: int):
    outputs, targets = logits()
    targets[3] = wrong
    with pytest.raises(LabelError, match=rf"label {wrong} of example 103 is out of range.* run from 0 to 4"):
        CLASSIFICATION.check(outputs, targets, start=100)


@pytest.mark.parametrize("targets", [torch.zeros(7), torch.zeros(7, 1, dtype=torch.int64)])
def test_labels_that_are_no_whole_numbers_or_no_list_are_refused(targets: Tensor):
    with pytest.raises(LabelError, match="one whole number from 0 to 4 for each example"):
        CLASSIFICATION.check(logits()[0], targets)


@pytest.mark.parametrize("shape", [(7, 1), (7,), (7, 5, 2)])
def test_outputs_that_are_no_logits_are_refused(shape: tuple[int, ...]):
    with pytest.raises(NoLogitsError, match=r"needs logits \[n, n_classes\] of two classes or more"):
        CLASSIFICATION.check(torch.zeros(shape), torch.zeros(7, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(7, 2), (6,), (7, 1, 1)])
def test_regression_with_several_outputs_is_refused(shape: tuple[int, ...]):
    with pytest.raises(NoLogitsError, match="one output each"):
        REGRESSION.check(torch.zeros(shape), torch.zeros(7))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_target_that_is_not_finite_is_refused(value: float):
    outputs, targets = predictions()
    targets[2] = value
    with pytest.raises(LabelError, match="one finite number"):
        REGRESSION.check(outputs, targets)


def test_targets_in_a_column_are_refused():
    outputs, targets = predictions()
    with pytest.raises(LabelError, match=r"targets of shape \(7, 1\)"):
        REGRESSION.check(outputs, targets[:, None])


@pytest.mark.parametrize("name", ["output_function", "weight_function"])
def test_custom_functions_that_give_no_single_number_are_refused_by_name(name: str):
    functions = {
        "output_function": lambda outputs, _: outputs[:, 0],
        "weight_function": lambda outputs, _: outputs[:, 0],
    }
    functions[name] = lambda outputs, _: outputs
    with pytest.raises(InvalidSettingError, match=rf"{name} of task 'mine' gives a tensor of shape \(7, 5\) for 7"):
        CustomTask(**functions, name="mine").check(*logits())


def test_a_task_is_found_by_its_name():
    assert list(TASKS) == ["image_classification", "text_classification", "regression"]
    assert all(find_task(name).name == name for name in TASKS)
    assert find_task("text_classification").modality == "text"


def test_a_task_that_is_given_is_the_task():
    assert find_task(SECOND) is SECOND


def test_an_unknown_task_is_refused_with_those_there_are():
    with pytest.raises(InvalidSettingError, match=r"task='ranking'; there are image_classification, .*CustomTask"):
        find_task("ranking")
