"""What the guide to tasks and recipes tells people to write works."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import trak_core as tc
from tests.test_docs_custom_data import WORDS
from trak_core.errors import LabelError
from trak_core.tasks import Task

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "adding-a-task-or-recipe.md").read_text(encoding="utf-8")
TASK, RECIPE, BUILD = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_the_task_has_the_weight_that_its_loss_gives():
    names: dict[str, Any] = {"__name__": "guide"}
    exec(TASK, names)
    task = names["YesOrNo"]()
    assert isinstance(task, Task)
    outputs = torch.linspace(-4, 4, 9, dtype=torch.float64)[:, None].requires_grad_()
    asked = torch.tensor([0, 1, 1, 0, 0, 1, 0, 1, 1])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], asked.double(), reduction="sum")
    (of_loss,) = torch.autograd.grad(loss, outputs)
    (of_f,) = torch.autograd.grad(task.model_output(outputs, asked).sum(), outputs)
    torch.testing.assert_close(task.out_to_loss(outputs, asked), -(of_loss / of_f)[:, 0])
    task.check(outputs, asked)
    with pytest.raises(LabelError, match="example 12 has the label 3"):
        task.check(outputs, torch.tensor([0, 1, 3]), start=10)


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
