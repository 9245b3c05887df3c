"""Regression with squared loss: the model output is the prediction itself.

With `L = (f - y)^2 / 2` the weight is the residual, `q = -dL/df = y - f`: a train example whose target lies above
its prediction pulls predictions up.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from trak_core.errors import LabelError, NoLogitsError
from trak_core.tasks.answer import Answer
from trak_core.tasks.curvature import CurvaturePart
from trak_core.tasks.task import Task


@dataclass(frozen=True)
class Regression(Task):
    """The regression task for models with one output, `[n]` or `[n, 1]`, and targets `[n]`."""

    modality: str = "numbers"  # what the examples are

    name = "regression"
    is_quadratic = True

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Predictions `[...]`; the targets play no part."""
        return outputs.reshape(target.shape)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Residuals `[...]`: target less prediction."""
        return target - outputs.reshape(target.shape)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Half the squared error `[...]`, one value an example."""
        return (outputs.reshape(target.shape) - target) ** 2 / 2

    def answer(self, outputs: Tensor) -> Answer:
        """The prediction."""
        return Answer(outputs.reshape(outputs.shape[:-1] if outputs.shape[-1:] == (1,) else outputs.shape))

    def curvature(
        self, outputs: Tensor, target: Tensor | None = None, draws: int | None = None, uniform: Tensor | None = None
    ) -> Iterator[CurvaturePart]:
        """One part, the prediction itself: the second derivative of the loss in it is 1, whatever the target."""
        yield CurvaturePart(self, outputs.new_zeros(len(outputs)), outputs.new_ones(len(outputs)))

    def curvature_product(self, outputs: Tensor, target: Tensor, vectors: Tensor) -> Tensor:
        """The vectors themselves."""
        return vectors

    def check(self, outputs: Tensor, target: Tensor, start: int = 0) -> None:
        """Refuses models with several outputs, and targets that are not finite.

        Raises:
            NoLogitsError: outputs are neither `[n]` nor `[n, 1]`.
            LabelError: a target is not finite, or targets are not `[n]`.
        """
        if outputs.shape not in ((len(target),), (len(target), 1)):
            raise NoLogitsError(
                f"the model returns a tensor of shape {tuple(outputs.shape)} for {len(target)} examples, but "
                "regression needs one output each, [n] or [n, 1]. Choose one output with a trak_core.CustomTask."
            )
        if target.dim() != 1 or not target.isfinite().all():
            raise LabelError(
                f"targets of shape {tuple(target.shape)}, finite: {bool(target.isfinite().all())}; regression takes "
                "one finite number for each example."
            )
