"""What the guides to tasks and recipes tell people to write works."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import trak_core as tc
from tests.test_docs_custom_data import WORDS
from tests.toy_tasks import N_LEFT, N_RIGHT, PairsModel
from trak_core.errors import InvalidSettingError, LabelError
from trak_core.methods import Examples, MethodContext, find_method
from trak_core.tasks import Task, find_task, registry
from trak_core.training import TrainingSettings, train_recorded

# torch's own, when it takes its first forward derivative.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
DOCS = Path(__file__).resolve().parents[1] / "docs"


def code_of(guide: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / guide).read_text(encoding="utf-8"), re.DOTALL)


TASK, REGISTER, PAIRS, CUSTOM = code_of("adding-a-task.md")
RECIPE, BUILD = code_of("adding-a-recipe.md")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Everything that the guide to tasks makes."""
    monkeypatch.setattr(registry, "TASKS", dict(registry.TASKS))
    made: dict[str, Any] = {"__name__": "guide"}
    for code in (TASK, REGISTER, PAIRS, CUSTOM):
        exec(code, made)
    return made


def assert_q_is_what_the_loss_says(task: Task, outputs: Tensor, target: Tensor, loss: Tensor) -> None:
    (of_loss,) = torch.autograd.grad(loss.sum(), outputs, retain_graph=True)
    (of_f,) = torch.autograd.grad(task.model_output(outputs, target).sum(), outputs)
    q = task.out_to_loss(outputs, target).reshape(-1, *[1] * (outputs.dim() - 1))
    torch.testing.assert_close(of_loss, -q * of_f)


def test_the_task_has_the_weight_that_its_loss_gives(names: dict[str, Any]):
    task = names["YesOrNo"]()
    outputs = torch.linspace(-4, 4, 9, dtype=torch.float64)[:, None].requires_grad_()
    target = torch.tensor([0, 1, 1, 0, 0, 1, 0, 1, 1])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], target.double(), reduction="none")
    torch.testing.assert_close(task.loss(outputs, target), expected)
    assert_q_is_what_the_loss_says(task, outputs, target, expected)
    task.check(outputs, target)
    assert task.agrees(task.answer(outputs), target).tolist() == [
        True,
        False,
        False,
        True,
        True,
        True,
        False,
        True,
        True,
    ]
    with pytest.raises(LabelError, match="example 12 has the label 3"):
        task.check(outputs, torch.tensor([0, 1, 3]), start=10)


def test_the_task_is_registered_by_its_line_and_trains_and_is_attributed(names: dict[str, Any]):
    task = find_task("yes_or_no")
    assert isinstance(task, names["YesOrNo"])
    with pytest.raises(InvalidSettingError, match="there is a task 'yes_or_no' already"):
        exec(REGISTER, names)
    torch.manual_seed(0)
    inputs = torch.randn(40, 3)
    target = (inputs.sum(1) > 0).long()
    settings = TrainingSettings(epochs=10, batch_size=10, learning_rate=0.3, momentum=0.9, weight_decay=0.01)
    trained = train_recorded(lambda: nn.Linear(3, 1), task, inputs[:30], target[:30], [0, 1], settings)
    assert trained.ensemble.right(task, trained.ensemble.outputs(task, inputs), target).mean() > 0.9
    states = [trained.ensemble.state_dict(i) for i in range(2)]
    context = MethodContext(
        task,
        trained.ensemble.architecture,
        states,
        Examples(inputs[:30], target[:30]),
        Examples(inputs[30:], target[30:]),
        weight_decay=settings.weight_decay,
        logs=trained.logs,
    )
    magic = find_method("magic").fit(context).block(slice(None))
    for method in ("influence_exact", "influence_cg", "influence_ekfac", "source", "trak"):
        scores = find_method(method).fit(context).block(slice(None))
        # Another name for the same thing, on a convex problem that was trained nearly to its end.
        assert torch.corrcoef(torch.stack([scores.flatten(), magic.flatten()]))[0, 1] > 0.8, method
    attributor = tc.Attributor(nn.Linear(3, 1), "yes_or_no", states, device="cpu", progress=False)
    scores = attributor.fit((inputs[:30], target[:30])).score((inputs[30:], None))
    assert scores.shape == (10, 30)  # of the model's own answers


def test_the_pairs_are_attributed_from_both_sides(names: dict[str, Any]):
    torch.manual_seed(0)

    def pairs(n: int) -> dict[str, Tensor]:
        return {"left": torch.randn(n, N_LEFT), "right": torch.randn(n, N_RIGHT)}

    task, model = names["Pairs"](pairs(6)), PairsModel()
    prepared = task.prepare(model)
    outputs = task.outputs_of(model, pairs(4)).detach().requires_grad_()
    for side in (prepared, task.query.prepare(model)):
        assert_q_is_what_the_loss_says(side, outputs, torch.zeros(4), side.loss(outputs, torch.zeros(4)))
    attributor = tc.Attributor(model, task, device="cpu", progress=False)
    scores = attributor.fit([(pairs(12), torch.zeros(12))]).score([(pairs(5), torch.zeros(5))])
    assert scores.shape == (5, 12) and np.isfinite(scores).all()


def test_the_task_of_counts_is_that_of_a_poisson_distribution(names: dict[str, Any]):
    task: Task = names["counts"]
    outputs = torch.linspace(-1, 2, 5, dtype=torch.float64)[:, None].requires_grad_()
    counts = torch.arange(5.0, dtype=torch.float64)
    expected = torch.nn.functional.poisson_nll_loss(outputs[:, 0], counts, reduction="none")
    torch.testing.assert_close(task.loss(outputs, counts), expected)
    assert_q_is_what_the_loss_says(task, outputs, counts, expected)
    answer = task.answer(outputs)
    assert answer is not None
    torch.testing.assert_close(answer.value, outputs[:, 0].exp())


@pytest.mark.slow
def test_the_recipe_builds_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    with Path("reviews.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["review", "verdict"])
        for label in ("good", "bad") * 40:
            table.writerow([" ".join(draw.choice([*WORDS[label], "film", "plot"], 5)), label])
    names: dict[str, Any] = {"__name__": "guide"}
    exec(RECIPE, names)
    exec(BUILD, names)
    with tc.open_run(names["run_dir"]) as run:
        assert run.info.provenance["title"] == "Reviews of films"
        assert run.info.provenance["complete"]
