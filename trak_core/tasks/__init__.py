"""What a prediction is: the model output f, its weight q and its loss; one file a task."""

from trak_core.tasks.classification import Classification
from trak_core.tasks.custom import CustomTask
from trak_core.tasks.regression import Regression
from trak_core.tasks.task import Modality, Task, find_task

__all__ = ["TASKS", "Classification", "CustomTask", "Modality", "Regression", "Task", "find_task"]

TASKS: dict[str, Task] = {task.name: task for task in (Classification("image"), Classification("text"), Regression())}
"""The built-in tasks by name; a new one is a file here and a word in this line."""
