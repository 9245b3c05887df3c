"""Classification by logits: the model output is the margin of the target class.

TRAK (Park et al. 2023, arXiv 2303.14186, section 3): `f = log(p / (1 - p))` and `q = 1 - p` with p the probability
of the target class. With `L = log(1 + exp(-f))` the gradient of the loss is `-q` times the gradient of f, so one store
of gradients of f and of q serves the loss-based methods too.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trak_core.errors import AttributionWarning, LabelError, NoLogitsError
from trak_core.tasks.answer import Answer
from trak_core.tasks.curvature import CurvaturePart, draw_parts
from trak_core.tasks.task import Task

ROUNDING = 5e-3
"""How far sums of probabilities may lie from 1, half precision included."""
LOW, HIGH = 0.1, 0.9
"""What some outputs of a sigmoid for each class lie below and above, once a model has learnt something; logits that all
lie from 0 to 1 are those of a model that has not."""


@dataclass(frozen=True)
class Classification(Task):
    """The classification task; every method takes logits `[..., n_classes]` and classes `[...]` int64."""

    modality: str = "image"  # what is classified
    # the word for the task in settings and stores; it follows from the modality
    name: str = field(init=False, repr=False, default="")

    has_classes = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.modality}_classification")

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Margins `[...]` of the target classes: the logit less the log-sum-exp of all other logits.

        Written with masks rather than indexing, so that it can be traced by `torch.func.vmap`.
        """
        is_target = _is_target(outputs, target)
        others = outputs.masked_fill(is_target, -torch.inf)
        return (outputs * is_target).sum(-1) - others.logsumexp(-1)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Weights q `[...]` = 1 - p of the target class, from the margin, accurate where p is near 1."""
        return torch.sigmoid(-self.model_output(outputs, target))

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy in nats `[...]`, one value an example."""
        return outputs.logsumexp(-1) - (outputs * _is_target(outputs, target)).sum(-1)

    def answer(self, outputs: Tensor) -> Answer:
        """The most probable class, with the probabilities of all."""
        probabilities = outputs.softmax(-1)
        # By the logits: of probabilities near 1 several may be rounded to the same number.
        return Answer(outputs.argmax(-1), probabilities.amax(-1), probabilities)

    def targets(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Every class, for each example `[n, n_classes]`."""
        return torch.arange(outputs.shape[-1], device=outputs.device).expand(len(target), -1)

    def target_names(self, class_names: Sequence[str]) -> list[str]:
        """The names of the classes."""
        return list(class_names)

    def curvature(
        self, outputs: Tensor, target: Tensor | None = None, draws: int | None = None, uniform: Tensor | None = None
    ) -> Iterator[CurvaturePart]:
        """The Fisher matrix, which is the Gauss-Newton matrix of cross-entropy; labels play no part.

        With `L = -log p_y` the gradient of the loss is `-q_y` times that of the margin f_y, so

            E_y[g g^T] = sum over y of p_y q_y^2 grad f_y grad f_y^T

        A label drawn from p itself makes this a lottery once a model is sure of itself: of 1,437 digits that a network
        knows well, about two draw another label than their own, and those two carry nearly the whole sum. Labels are
        therefore drawn in proportion to `p_y q_y^2`: the expectation is the same and the noise small.
        """
        self.check(outputs, torch.zeros(len(outputs), dtype=torch.int64, device=outputs.device))
        p = outputs.double().softmax(1)
        for label, scale in draw_parts(p * (1 - p) ** 2, draws, uniform):
            yield CurvaturePart(self, label, scale.to(outputs))

    def curvature_product(self, outputs: Tensor, target: Tensor, vectors: Tensor) -> Tensor:
        """`(diag(p) - p p^T) v` for each example."""
        p = outputs.softmax(-1)
        return p * (vectors - (p * vectors).sum(-1, keepdim=True))

    def check(self, outputs: Tensor, target: Tensor, start: int = 0) -> None:
        """Refuses what are no logits and what are no classes, and warns of probabilities.

        Raises:
            NoLogitsError: outputs are not `[n, n_classes]` with at least two classes.
            LabelError: a class is not a whole number from 0 to `n_classes - 1`.
        """
        if outputs.dim() != 2 or outputs.shape[1] < 2:
            raise NoLogitsError(
                f"the model returns a tensor of shape {tuple(outputs.shape)} for {len(target)} examples, but "
                "classification needs logits [n, n_classes] of two classes or more. For one output use "
                "task='regression' or a trak_core.CustomTask."
            )
        n_classes = outputs.shape[1]
        if start == 0:
            _warn_of_probabilities(outputs)
        if target.is_floating_point() or target.is_complex() or target.dim() != 1:
            raise LabelError(
                f"labels are {target.dtype} of shape {tuple(target.shape)}; classification takes one whole number "
                f"from 0 to {n_classes - 1} for each example."
            )
        wrong = (target < 0) | (target >= n_classes)
        if wrong.any():
            place = int(wrong.nonzero()[0, 0])
            raise LabelError(
                f"label {int(target[place])} of example {start + place} is out of range: the model returns "
                f"{n_classes} logits, so labels run from 0 to {n_classes - 1}. Number the classes from 0."
            )


def _warn_of_probabilities(outputs: Tensor) -> None:
    """Warns where outputs of the first examples are those of a softmax, or of a sigmoid for each class."""
    n, n_classes = outputs.shape
    if n and (outputs >= 0).all() and ((outputs.sum(1) - 1).abs() < ROUNDING).all():
        found, last = "are not negative and sum to 1", "softmax"
    elif n and 0 <= outputs.min() < LOW and HIGH < outputs.max() <= 1:
        found, last = "all lie from 0 to 1", "sigmoid"
    else:
        return
    warnings.warn(
        f"the model returns probabilities: the {n_classes} outputs of each of the first {n} examples {found}. Margins "
        f"of probabilities mean little, and scores with them: return logits, without the {last} at the end, or the "
        "logarithm of the probabilities.",
        AttributionWarning,
        stacklevel=3,
    )


def _is_target(outputs: Tensor, target: Tensor) -> Tensor:
    return torch.arange(outputs.shape[-1], device=outputs.device) == target[..., None]
