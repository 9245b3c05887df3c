"""A task given by functions, for whatever the built-in tasks do not cover."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trak_core.errors import InvalidSettingError
from trak_core.tasks.task import Modality

__all__ = ["CustomTask"]


@dataclass(frozen=True)
class CustomTask:
    """A task made of two functions of the model's outputs `[n, ...]` and of what is asked `[n, ...]`.

    Example: the second of three outputs of a regression model.

    ```python
    CustomTask(lambda outputs, target: outputs[:, 1], lambda outputs, target: target - outputs[:, 1])
    ```

    Attributes:
        output_function: gives f `[n]`; torch operations only, each row from its own row of `outputs`.
        weight_function: gives q `[n]` = -dL/df.
        name: the word for the task in stores. Two tasks of one name are taken to be the same when work is resumed.
        modality: what the examples are.
        outputs_function: reads the outputs `[n, ...]` from the model; takes the model, to be called as its forward is,
            and the inputs of a batch. None takes the tensor that the model returns, or its `logits`. Example:
            `lambda model, inputs: model(**inputs).last_hidden_state[:, 0]`.
    """

    output_function: Callable[[Tensor, Tensor], Tensor]
    weight_function: Callable[[Tensor, Tensor], Tensor]
    name: str = "custom"
    modality: Modality = "image"
    outputs_function: Callable[[Callable[..., Any], Any], Tensor] | None = None

    def __post_init__(self) -> None:
        """A task that reads outputs in its own way says so by having `outputs_of`."""
        if self.outputs_function is not None:
            object.__setattr__(self, "outputs_of", self.outputs_function)

    def model_output(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """The model output f `[n]`."""
        return self.output_function(outputs, asked)

    def out_to_loss(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """The weight q `[n]`."""
        return self.weight_function(outputs, asked)

    def check(self, outputs: Tensor, asked: Tensor, start: int = 0) -> None:
        """Refuses functions that do not give one number for each example.

        Raises:
            InvalidSettingError: a function gives another shape than `[n]`.
        """
        for what, function in (("output_function", self.output_function), ("weight_function", self.weight_function)):
            given = function(outputs, asked)
            if (shape := getattr(given, "shape", None)) != (len(asked),):
                got = type(given).__name__ if shape is None else f"tensor of shape {tuple(shape)}"
                raise InvalidSettingError(
                    f"{what} of task {self.name!r} gives a {got} for {len(asked)} "
                    f"examples; it must give one number each, [{len(asked)}]."
                )
