"""What every task says, and how one is found by name.

A task turns what the model returns into one number for each example, the model output f, and tells how f makes the
loss: `q = -dL/df`. Everything else (gradients, kernels, scores) is the same for all tasks.
"""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from trak_core.errors import InvalidSettingError

__all__ = ["Modality", "Task", "find_task"]

Modality = Literal["image", "text", "table"]


@runtime_checkable
class Task(Protocol):
    """What a prediction is.

    `outputs` is what the model returns for a batch, `[n, ...]`; `asked` is what is asked about each example, `[n]`:
    its label or another class for classification, the target for regression.
    """

    @property
    def name(self) -> str:
        """The word for the task in settings and stores."""
        ...

    @property
    def modality(self) -> Modality:
        """What the examples are, for those who show them."""
        ...

    def model_output(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """The model output f `[n]`, differentiable in `outputs`; `torch.func.vmap` must be able to trace it."""
        ...

    def out_to_loss(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """The weight q `[n]` of an example: `-dL/df`, with L the loss that the model was trained on."""
        ...

    def check(self, outputs: Tensor, asked: Tensor, start: int = 0) -> None:
        """Refuses outputs or questions that the task cannot work with, by an exception that says why.

        `start` is the number of the first example, for the message.
        """
        ...


def find_task(task: "str | Task") -> Task:
    """The task itself, or the one of that name.

    Raises:
        InvalidSettingError: there is no task of that name.
    """
    from trak_core.tasks import TASKS

    if isinstance(task, str) and task in TASKS:
        return TASKS[task]
    if isinstance(task, str | type) or not isinstance(task, Task):
        raise InvalidSettingError(
            f"task={task!r}; there are {', '.join(TASKS)}. For anything else give a "
            "trak_core.CustomTask(output_function, weight_function)."
        )
    return task
