"""Tasks against their definitions, in float64: the output f, the weight q = -dL/df, and what they refuse."""

import pytest
import torch
from torch import Tensor

from trak_core.errors import InvalidSettingError, LabelError, NeedNotMetError, NoLogitsError
from trak_core.tasks import (
    TASKS,
    Answer,
    Classification,
    CustomTask,
    Regression,
    Targets,
    Task,
    find_task,
    label_task,
    register_task,
    registry,
)

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
    assert list(TASKS) == [
        "image_classification",
        "text_classification",
        "regression",
        "causal_lm",
        "seq2seq",
        "masked_lm",
    ]
    assert all(find_task(name).name == name for name in TASKS)
    assert find_task("text_classification").modality == "text"


def test_a_task_that_is_given_is_the_task():
    assert find_task(SECOND) is SECOND


def test_an_unknown_task_is_refused_with_those_there_are():
    with pytest.raises(InvalidSettingError, match=r"task='ranking'; there are image_classification, .*CustomTask"):
        find_task("ranking")


def test_the_class_of_a_task_is_no_task():
    with pytest.raises(InvalidSettingError, match="Give an object, not the class"):
        find_task(Regression)  # type: ignore[arg-type]


def test_labels_of_any_modality_have_a_task():
    assert label_task("image") is TASKS["image_classification"]
    assert label_task("sound") == Classification("sound") and label_task("sound").name == "sound_classification"


# --- the registry --------------------------------------------------------------------------------------------


class Signed(Task):
    """The sign of one output."""

    name = "signed"

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        return outputs[:, 0]

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return target - outputs[:, 0]


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Task]:
    monkeypatch.setattr(registry, "TASKS", dict(TASKS))
    return registry.TASKS


@pytest.mark.parametrize("given", [Signed, Signed()])
def test_a_registered_task_is_found_by_its_name(tasks: dict[str, Task], given: Task | type[Task]):
    task = register_task(given)
    assert find_task("signed") is task and list(tasks)[-1] == "signed"


def test_a_name_that_is_taken_is_refused(tasks: dict[str, Task]):
    register_task(Signed)
    with pytest.raises(
        InvalidSettingError, match="there is a task 'signed' already, a Signed; give the Signed another"
    ):
        register_task(Signed())
    with pytest.raises(InvalidSettingError, match="a task 'regression' already, a Regression; give the CustomTask"):
        register_task(CustomTask(SECOND.output_function, SECOND.weight_function, name="regression"))


def test_an_incomplete_task_is_refused_with_what_it_lacks(tasks: dict[str, Task]):
    half = type("Half", (Task,), {"name": "half", "model_output": Signed.model_output})
    with pytest.raises(InvalidSettingError, match=r"task Half is incomplete: define out_to_loss\.$"):
        register_task(half)
    with pytest.raises(InvalidSettingError, match="incomplete: define model_output and out_to_loss"):
        register_task(Task)  # type: ignore[type-abstract]
    sized = type("Sized", (Signed,), {"name": "sized", "__init__": lambda self, size: None})
    with pytest.raises(
        InvalidSettingError, match=r"making the task by Sized\(\) fails with TypeError: .*; register an"
    ):
        register_task(sized)
    nameless = type("Nameless", (Signed,), {"name": ""})
    with pytest.raises(InvalidSettingError, match="task Nameless has the name ''; give it a word as `name`"):
        register_task(nameless)
    with pytest.raises(InvalidSettingError, match="'regression' is no task; give an object of a subclass"):
        register_task("regression")  # type: ignore[arg-type]
    assert list(tasks) == list(TASKS)


# --- defaults ------------------------------------------------------------------------------------------------


def test_a_task_of_two_functions_has_an_answer_to_everything_else():
    outputs, target = torch.randn(4, 1), torch.ones(4)
    task = Signed()
    assert task.answer(outputs) is None
    assert task.targets(outputs, target) is None and task.target_names(["a"]) == []
    assert task.query is task and task.prepare(lambda inputs: inputs) is task
    assert not (task.has_loss or task.has_classes or task.is_quadratic)
    task.check(outputs, target)
    with pytest.raises(NeedNotMetError, match="task 'signed' has no loss"):
        task.loss(outputs, target)
    with pytest.raises(InvalidSettingError, match=r"model_output of task 'signed' gives a tensor of shape \(4, 2\)"):
        task.check(outputs[..., None].expand(4, 1, 2), target)


def test_outputs_are_the_tensor_or_the_logits_that_the_model_returns():
    outputs = torch.ones(2, 3)
    for returned in (outputs, {"logits": outputs}, type("Output", (), {"logits": outputs})()):
        assert Signed().outputs_of(lambda inputs, returned=returned: returned, outputs) is outputs
    with pytest.raises(NoLogitsError, match=r"returns a dict, which has no logits.*outputs_function=\.\.\."):
        Signed().outputs_of(lambda inputs: {"sample": outputs}, outputs)


def test_functions_of_a_custom_task_read_the_outputs_and_tell_loss_and_answer():
    task = CustomTask(
        SECOND.output_function,
        SECOND.weight_function,
        loss_function=lambda outputs, target: (outputs[:, 1] - target) ** 2 / 2,
        answer_function=lambda outputs: outputs[:, 1],
        outputs_function=lambda model, inputs: model(*inputs)["sample"],
    )
    outputs, _ = logits()
    _, target = predictions()
    found = task.outputs_of(lambda one, two: {"sample": one + two}, (outputs, outputs))
    assert torch.equal(found, 2 * outputs)
    assert task.has_loss and not SECOND.has_loss
    torch.testing.assert_close(task.loss(outputs, target), (outputs[:, 1] - target) ** 2 / 2)
    answer = task.answer(outputs)
    assert answer is not None and torch.equal(answer.value, outputs[:, 1]) and answer.probabilities is None
    with pytest.raises(InvalidSettingError, match="loss_function of task 'custom' gives a tensor of shape"):
        CustomTask(SECOND.output_function, SECOND.weight_function, loss_function=lambda z, y: z).check(outputs, target)


# --- answers and targets -------------------------------------------------------------------------------------


def test_the_answer_of_classification_is_the_most_probable_class():
    outputs, target = logits()
    answer, p = CLASSIFICATION.answer(outputs), outputs.softmax(1)
    assert torch.equal(answer.value, p.argmax(1)) and torch.equal(answer.probabilities, p)
    torch.testing.assert_close(answer.confidence, p.max(1).values)
    torch.testing.assert_close(answer.probability_of(target), p[torch.arange(7), target])


def test_several_models_answer_with_their_mean_probabilities():
    outputs = torch.stack([logits()[0], -logits()[0]])
    answer = Answer.mean([CLASSIFICATION.answer(each) for each in outputs])
    mean = outputs.softmax(2).mean(0)
    torch.testing.assert_close(answer.probabilities, mean)
    assert torch.equal(answer.value, mean.argmax(1))


@pytest.mark.parametrize("shape", [(7,), (7, 1)])
def test_the_answer_of_regression_is_its_prediction_which_is_neither_right_nor_wrong(shape: tuple[int, ...]):
    outputs, target = predictions()
    answer = REGRESSION.answer(outputs.reshape(shape))
    assert torch.equal(answer.value, outputs) and answer.probability_of(target) is None
    assert REGRESSION.agrees(answer, target) is None
    both = Answer.mean([answer, Answer(answer.value + 2)])
    torch.testing.assert_close(both.value, outputs + 1)
    assert both.confidence is None


def test_of_whole_numbers_without_probabilities_the_one_that_most_models_say_is_taken():
    said = [Answer(torch.tensor(values), torch.tensor([0.6, 0.9])) for values in ([1, 0], [1, 4], [3, 4])]
    answer = Answer.mean(said)
    assert answer.value.tolist() == [1, 4]
    torch.testing.assert_close(answer.confidence, torch.tensor([0.6, 0.9]))


def test_every_class_can_be_asked_about_and_the_label_is_among_them():
    outputs, label = logits()
    targets = Targets.of(CLASSIFICATION, outputs, label)
    assert targets.every.tolist() == [list(range(5))] * 7
    assert torch.equal(targets.default, label) and targets.first == 1 and targets.has_further
    assert targets.is_default.nonzero().tolist() == [[i, int(c)] for i, c in enumerate(label)]
    expected = torch.stack([CLASSIFICATION.model_output(outputs, torch.full((7,), c)) for c in range(5)], dim=1)
    assert torch.equal(CLASSIFICATION.model_outputs(outputs, targets.every), expected)


def test_where_nothing_else_can_be_asked_the_default_target_is_alone():
    outputs, target = predictions()
    targets = Targets.of(REGRESSION, outputs, target)
    assert torch.equal(targets.every, target[:, None]) and targets.first == 0
    assert not targets.has_further and targets.is_default.all()
