"""What only one room may know: what task it is and what its outputs answer, and what the command line calls options."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trak_core.tasks import Task, classification, custom, regression

ROOT = Path(__file__).resolve().parents[1]
TASKS = "trak_core/tasks"
KINDS = {"Classification", "Regression", "CustomTask"}
RANKING = {"softmax", "log_softmax", "argmax"}
ALLOWED = {
    "trak_core/evidence/linear_baseline.py": "the penalty that does best",
    "trak_core/evidence/model_quality.py": "the most frequent class",
    # The labels of a train set: probabilities of classes, and votes, of models that were not told them.
    "trak_core/labels/findings.py": "temperature scaling of label probabilities, of which nobody knows the model",
    "trak_core/labels/folds.py": "the commonest label",
    "trak_core/labels/quality.py": "where a recall is reached first",
    "trak_core/labels/signals.py": "the most probable class other than the label",
    "trak_core/labels/label_scores.py": "which class a label should rather be; votes of neighbours",
    # Numbers that lie in a run already, read without torch; the pages that show them are for tasks with classes.
    "trak_core/views/browse.py": "stored probabilities",
    "trak_core/views/map.py": "stored probabilities",
    "trak_core/views/suspect_evidence.py": "stored probabilities",
    "trak_core/views/training_items.py": "stored probabilities",
    "trak_core/views/what_if.py": "stored probabilities, moved by predicted changes",
    "trak_core/views/groups.py": "the strongest pair of groups",
    "trak_core/views/stories.py": "the test example or pair that makes the best story",
    "trak_core/evidence/retraining.py": "the answer that most models give",
    "trak_core/evidence/what_if.py": "the answer that most models give",
    # Files of people, and no model at all.
    "trak_core/exchange/importing.py": "imported probabilities of classes",
    "trak_core/exchange/score_tables.py": "the first row that is wrong",
    "trak_core/datasets/sampling.py": "the largest remainder",
    "trak_core/modalities/text/networks.py": "attention inside a network",
}
"""Files that rank or normalise something else than the outputs of a model, each with what it is."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in [*(ROOT / "trak_core").rglob("*.py"), *(ROOT / "pages").rglob("*.py"), ROOT / "app.py"]:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(TASKS):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


SOURCES = dict(sources())


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def names_in(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} | {
        part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)
    }


def test_the_kinds_of_task_are_all_looked_for():
    found = {
        value.__name__
        for module in (classification, custom, regression)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Task) and value is not Task
    }
    assert found == KINDS


def test_nobody_asks_which_task_it_is():
    asked = {
        name
        for name, tree in SOURCES.items()
        for call in calls(tree)
        if name_of(call) in ("isinstance", "issubclass", "type") and KINDS & names_in(call)
    }
    assert not asked, f"{asked}: ask the task for what you need (see trak_core/tasks/task.py), not what it is"


def test_nobody_imports_a_kind_of_task():
    """`find_task` and `label_task` give tasks by name; the package hands on `CustomTask`, which people make."""
    imported = {
        (name, alias.name)
        for name, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trak_core.tasks")
        for alias in node.names
        if alias.name in KINDS
    }
    assert imported <= {("trak_core/__init__.py", "CustomTask")}


@pytest.mark.parametrize("name", SOURCES)
def test_nobody_turns_outputs_into_answers(name: str):
    found = {name_of(call) for call in calls(SOURCES[name])} & RANKING
    assert not found or name in ALLOWED, f"{name} calls {found}: let task.answer(outputs) tell, or add the reason here"


def test_every_exception_is_still_one():
    used = {name for name, tree in SOURCES.items() if {name_of(call) for call in calls(tree)} & RANKING}
    assert set(ALLOWED) == used


@pytest.mark.parametrize("room", ["datasets", "engine", "evidence", "labels", "training"])
def test_what_pages_and_python_say_too_names_parameters_and_no_flags(room: str):
    """Commands between backticks are for a terminal in any case; lists of words are commands."""
    sentences = {
        (name, node.value)
        for name, tree in SOURCES.items()
        if name.startswith(f"trak_core/{room}/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip()
    }
    assert len(sentences) > 20
    assert not {each for each in sentences if re.search(r"(?<![\w-])--[a-z]", re.sub("`[^`]*`?", "", each[1]))}
