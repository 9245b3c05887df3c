"""Classification by logits: the model output is the margin of the asked class.

TRAK (Park et al. 2023, arXiv 2303.14186, section 3): `f = log(p / (1 - p))` and `q = 1 - p` with p the probability
of the asked class. With `L = log(1 + exp(-f))` the gradient of the loss is `-q` times the gradient of f, so one store
of gradients of f and of q serves the loss-based methods too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Classification"]


@dataclass(frozen=True)
class Classification:
    """The classification task; every method takes logits `[..., n_classes]` and classes `[...]` int64."""

    def model_output(self, logits: Tensor, asked: Tensor) -> Tensor:
        """Margins `[...]` of the asked classes: the logit less the log-sum-exp of all other logits.

        Written with masks rather than indexing, so that it can be traced by `torch.func.vmap`.
        """
        is_asked = torch.arange(logits.shape[-1], device=logits.device) == asked[..., None]
        others = logits.masked_fill(is_asked, -torch.inf)
        return (logits * is_asked).sum(-1) - others.logsumexp(-1)

    def out_to_loss(self, logits: Tensor, asked: Tensor) -> Tensor:
        """Weights q `[...]` = 1 - p of the asked class, from the margin, accurate where p is near 1."""
        return torch.sigmoid(-self.model_output(logits, asked))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in nats `[...]`, one value an example."""
        return logits.logsumexp(-1) - self._pick(logits, labels)

    @staticmethod
    def _pick(logits: Tensor, labels: Tensor) -> Tensor:
        is_label = torch.arange(logits.shape[-1], device=logits.device) == labels[..., None]
        return (logits * is_label).sum(-1)
