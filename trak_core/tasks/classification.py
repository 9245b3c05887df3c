"""Classification by logits: the model output is the margin of the asked class.

TRAK (Park et al. 2023, arXiv 2303.14186, section 3): `f = log(p / (1 - p))` and `q = 1 - p` with p the probability
of the asked class. With `L = log(1 + exp(-f))` the gradient of the loss is `-q` times the gradient of f, so one store
of gradients of f and of q serves the loss-based methods too.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trak_core.errors import LabelError, NoLogitsError
from trak_core.tasks.task import Modality

__all__ = ["Classification"]


@dataclass(frozen=True)
class Classification:
    """The classification task; every method takes logits `[..., n_classes]` and classes `[...]` int64.

    Attributes:
        modality: what is classified.
    """

    modality: Modality = "image"
    has_classes: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The word for the task in settings and stores."""
        return f"{self.modality}_classification"

    def model_output(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """Margins `[...]` of the asked classes: the logit less the log-sum-exp of all other logits.

        Written with masks rather than indexing, so that it can be traced by `torch.func.vmap`.
        """
        is_asked = torch.arange(outputs.shape[-1], device=outputs.device) == asked[..., None]
        others = outputs.masked_fill(is_asked, -torch.inf)
        return (outputs * is_asked).sum(-1) - others.logsumexp(-1)

    def out_to_loss(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """Weights q `[...]` = 1 - p of the asked class, from the margin, accurate where p is near 1."""
        return torch.sigmoid(-self.model_output(outputs, asked))

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in nats `[...]`, one value an example."""
        return outputs.logsumexp(-1) - self._pick(outputs, labels)

    def check(self, outputs: Tensor, asked: Tensor, start: int = 0) -> None:
        """Refuses what are no logits and what are no classes.

        Raises:
            NoLogitsError: outputs are not `[n, n_classes]` with at least two classes.
            LabelError: a class is not a whole number from 0 to `n_classes - 1`.
        """
        if outputs.dim() != 2 or outputs.shape[1] < 2:
            raise NoLogitsError(
                f"the model returns a tensor of shape {tuple(outputs.shape)} for {len(asked)} examples, but "
                "classification needs logits [n, n_classes] of two classes or more. For one output use "
                "task='regression' or a trak_core.CustomTask."
            )
        n_classes = outputs.shape[1]
        if asked.is_floating_point() or asked.is_complex() or asked.dim() != 1:
            raise LabelError(
                f"labels are {asked.dtype} of shape {tuple(asked.shape)}; classification takes one whole number "
                f"from 0 to {n_classes - 1} for each example."
            )
        wrong = (asked < 0) | (asked >= n_classes)
        if wrong.any():
            place = int(wrong.nonzero()[0, 0])
            raise LabelError(
                f"label {int(asked[place])} of example {start + place} is out of range: the model returns "
                f"{n_classes} logits, so labels run from 0 to {n_classes - 1}. Number the classes from 0."
            )

    @staticmethod
    def _pick(outputs: Tensor, labels: Tensor) -> Tensor:
        is_label = torch.arange(outputs.shape[-1], device=outputs.device) == labels[..., None]
        return (outputs * is_label).sum(-1)
