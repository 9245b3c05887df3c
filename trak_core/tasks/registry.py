"""The tasks by name. A new one is a file in this folder and a line here."""

import inspect

from trak_core.errors import MADE_WITHOUT_ARGUMENTS, InvalidSettingError, running_own_code
from trak_core.registering import may_replace, note_registered
from trak_core.tasks.causal_lm import CausalLM
from trak_core.tasks.classification import Classification
from trak_core.tasks.masked_lm import MaskedLM
from trak_core.tasks.regression import Regression
from trak_core.tasks.seq2seq import Seq2Seq
from trak_core.tasks.task import Task

TASKS: dict[str, Task] = {}
"""The registered tasks by name."""


def register_task(task: Task | type[Task]) -> Task:
    """Makes a task known by its name; gives the task. A subject file may replace one of a file read before.

    Args:
        task: the task, or a class that is made without arguments.

    Raises:
        InvalidSettingError: it is incomplete or no task, or its name is taken.
    """
    if isinstance(task, type) and issubclass(task, Task):
        if missing := sorted(task.__abstractmethods__):
            raise InvalidSettingError(f"task {task.__name__} is incomplete: define {' and '.join(missing)}.")
        with running_own_code(f"making the task by {task.__name__}()", InvalidSettingError, MADE_WITHOUT_ARGUMENTS):
            task = task()
    if not isinstance(task, Task):
        raise InvalidSettingError(f"{task!r} is no task; give an object of a subclass of trak_core.tasks.Task.")
    name = getattr(task, "name", None)
    if not isinstance(name, str) or not name:
        raise InvalidSettingError(f"task {type(task).__name__} has the name {name!r}; give it a word as `name`.")
    if name in TASKS and not may_replace(register_task, name):
        raise InvalidSettingError(
            f"there is a task {name!r} already, a {type(TASKS[name]).__name__}; give the {type(task).__name__} another "
            "name."
        )
    TASKS[name] = task
    note_registered(register_task, task)
    return task


def find_task(task: str | Task) -> Task:
    """The task itself, or the one of that name.

    Raises:
        InvalidSettingError: there is no task of that name.
    """
    if isinstance(task, str) and task in TASKS:
        return TASKS[task]
    if isinstance(task, Task):
        return task
    hint = " Give an object, not the class." if inspect.isclass(task) else ""
    raise InvalidSettingError(
        f"task={task!r}; there are {', '.join(TASKS)}. For anything else give a trak_core.CustomTask(output_function, "
        f"weight_function) or a trak_core.tasks.Task of your own.{hint}"
    )


def label_task(modality: str) -> Task:
    """The task of examples of that kind whose labels are classes."""
    task = Classification(modality)
    return TASKS.get(task.name, task)


for each in (Classification("image"), Classification("text"), Regression(), CausalLM(), Seq2Seq(), MaskedLM()):
    register_task(each)
