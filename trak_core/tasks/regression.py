"""Regression with squared loss: the model output is the prediction itself.

With `L = (f - y)^2 / 2` the weight is the residual, `q = -dL/df = y - f`: a train example whose target lies above
its prediction pulls predictions up.
"""

from dataclasses import dataclass

from torch import Tensor

from trak_core.errors import LabelError, NoLogitsError
from trak_core.tasks.task import Modality

__all__ = ["Regression"]


@dataclass(frozen=True)
class Regression:
    """The regression task for models with one output, `[n]` or `[n, 1]`, and targets `[n]`.

    Attributes:
        modality: what the examples are.
    """

    modality: Modality = "table"

    @property
    def name(self) -> str:
        """The word for the task in settings and stores."""
        return "regression"

    def model_output(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """Predictions `[...]`; the targets play no part."""
        return self._predictions(outputs, asked)

    def out_to_loss(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """Residuals `[...]`: target less prediction."""
        return asked - self._predictions(outputs, asked)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Half the squared error `[...]`, one value an example."""
        return (self._predictions(outputs, labels) - labels) ** 2 / 2

    def check(self, outputs: Tensor, asked: Tensor, start: int = 0) -> None:
        """Refuses models with several outputs, and targets that are not finite.

        Raises:
            NoLogitsError: outputs are neither `[n]` nor `[n, 1]`.
            LabelError: a target is not finite, or targets are not `[n]`.
        """
        if outputs.shape not in ((len(asked),), (len(asked), 1)):
            raise NoLogitsError(
                f"the model returns a tensor of shape {tuple(outputs.shape)} for {len(asked)} examples, but "
                "regression needs one output each, [n] or [n, 1]. Choose one output with a trak_core.CustomTask."
            )
        if asked.dim() != 1 or not asked.isfinite().all():
            raise LabelError(
                f"targets of shape {tuple(asked.shape)}, finite: {bool(asked.isfinite().all())}; regression takes one "
                "finite number for each example."
            )

    @staticmethod
    def _predictions(outputs: Tensor, asked: Tensor) -> Tensor:
        return outputs.reshape(asked.shape)
