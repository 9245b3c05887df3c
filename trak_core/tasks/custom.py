"""A task given by functions, for whatever the built-in tasks do not cover."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from torch import Tensor

from trak_core.errors import InvalidSettingError
from trak_core.tasks.answer import Answer
from trak_core.tasks.outputs import Inputs, Model
from trak_core.tasks.task import Task


@dataclass(frozen=True)
class CustomTask(Task):
    """A task made of functions of the model's outputs `[n, ...]` and of the targets `[n, ...]`.

    Example: the second of three outputs of a regression model.

    ```python
    CustomTask(lambda outputs, target: outputs[:, 1], lambda outputs, target: target - outputs[:, 1])
    ```

    Attributes:
        output_function: gives f `[n]`; torch operations only, each row from its own row of `outputs`.
        weight_function: gives q `[n]` = -dL/df.
        name: the word for the task in stores. Two tasks of one name are taken to be the same when work is resumed.
        modality: what the examples are.
        loss_function: gives the loss `[n]` that the model was trained on; training and methods that look at the
            curvature of the loss need it.
        answer_function: gives what the model says, numbers `[n]` or an `Answer`, from its outputs.
        outputs_function: reads the outputs `[n, ...]` from the model; takes the model, to be called as its forward is,
            and the inputs of a batch. None takes the tensor that the model returns, or its `logits`. Example:
            `lambda model, inputs: model(**inputs).last_hidden_state[:, 0]`.
    """

    output_function: Callable[[Tensor, Tensor], Tensor]
    weight_function: Callable[[Tensor, Tensor], Tensor]
    name: str = "custom"
    modality: str = "image"
    loss_function: Callable[[Tensor, Tensor], Tensor] | None = None
    answer_function: Callable[[Tensor], Tensor | Answer] | None = None
    outputs_function: Callable[[Model, Inputs], Tensor] | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            given = getattr(self, each.name)
            if each.name.endswith("_function") and not callable(given) and given is not each.default:
                raise InvalidSettingError(f"{each.name} is a {type(given).__name__}; give a function.")

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The model output f `[n]`."""
        return self.output_function(outputs, target)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The weight q `[n]`."""
        return self.weight_function(outputs, target)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The loss `[n]`; errors as in `Task.loss`."""
        return super().loss(outputs, target) if self.loss_function is None else self.loss_function(outputs, target)

    @property
    def has_loss(self) -> bool:
        """Whether there is a `loss_function`."""
        return self.loss_function is not None

    @property
    def has_answer(self) -> bool:
        """Whether there is an `answer_function`."""
        return self.answer_function is not None

    def answer(self, outputs: Tensor) -> Answer | None:
        """What the `answer_function` says; None without one."""
        if self.answer_function is None:
            return None
        given = self.answer_function(outputs)
        return given if isinstance(given, Answer) else Answer(given)

    def outputs_of(self, model: Model, inputs: Inputs) -> Tensor:
        """As in `Task.outputs_of`, by the `outputs_function` where there is one."""
        if self.outputs_function is None:
            return super().outputs_of(model, inputs)
        return self.outputs_function(model, inputs)

    def _functions(self) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
        functions = {"output_function": self.output_function, "weight_function": self.weight_function}
        return functions if self.loss_function is None else functions | {"loss_function": self.loss_function}
