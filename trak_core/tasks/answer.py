"""What a model says of examples, in a form that is the same for all tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Answer:
    """The answers for n examples; for several models at once, with the models in front."""

    value: Tensor  # the numbers of classes, int64, or numbers `[..., n]`; as a target, it asks for the answer itself
    confidence: Tensor | None = None  # how sure the model is, 0 to 1 `[..., n]`; None where it does not say
    probabilities: Tensor | None = None  # of all classes `[..., n, n_classes]`; None where there are none

    @classmethod
    def of_classes(cls, probabilities: Tensor) -> "Answer":
        """The most probable class of each example, from probabilities `[..., n, n_classes]`."""
        return cls(probabilities.argmax(-1), probabilities.amax(-1), probabilities)

    @classmethod
    def mean(cls, answers: Sequence["Answer"]) -> "Answer":
        """The answer of several models together: of their mean probabilities where they have any.

        Otherwise the mean of their numbers, or what most of them say where these are whole.
        """
        probabilities = [answer.probabilities for answer in answers if answer.probabilities is not None]
        if probabilities:
            return cls.of_classes(torch.stack(probabilities).mean(0))
        confidences = [answer.confidence for answer in answers if answer.confidence is not None]
        values = torch.stack([answer.value for answer in answers])
        value = values.mean(0) if values.is_floating_point() else values.mode(0).values
        return cls(value, torch.stack(confidences).mean(0) if confidences else None)

    def cpu(self) -> "Answer":
        """The same on the CPU."""
        parts = (self.value, self.confidence, self.probabilities)
        return Answer(*(None if part is None else part.cpu() for part in parts))  # type: ignore[arg-type]

    def probability_of(self, target: Tensor) -> Tensor | None:
        """Probabilities `[..., n]` of classes `[..., n]`; None where the task has no classes."""
        if self.probabilities is None:
            return None
        return self.probabilities.gather(-1, target[..., None])[..., 0]
