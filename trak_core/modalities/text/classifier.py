"""A pretrained sequence classifier as a network of tokens alone, so that it trains like any other."""

from typing import Any

import torch
from torch import Tensor, nn


class TokenClassifier(nn.Module):
    """Takes tokens `[n, length]` (int64), gives logits `[n, n_classes]`, without dropout.

    Args:
        model: of Hugging Face, for sequence classification.
        padding: the token that fills short texts up.
    """

    def __init__(self, model: Any, padding: int) -> None:
        super().__init__()
        self.model = model
        self.padding = padding
        for parent in [*model.modules()]:
            for name, child in [*parent.named_children()]:
                if isinstance(child, nn.modules.dropout._DropoutNd):
                    setattr(parent, name, nn.Identity())
        self.takes_whole_mask = self._takes_whole_mask()

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits `[n, n_classes]`."""
        return self._logits(tokens, self.takes_whole_mask)

    def _logits(self, tokens: Tensor, whole_mask: bool) -> Tensor:
        present = tokens != self.padding
        mask = present.long()
        if whole_mask:
            # As it is added to the logits of attention. From a mask of ones and zeros a model makes this itself, but
            # first looks whether there are zeros at all, which cannot be asked of many models at once.
            dtype = next(self.model.parameters()).dtype
            mask = torch.zeros_like(present, dtype=dtype).masked_fill(~present, torch.finfo(dtype).min)
            mask = mask[..., None, None, :]  # [n, 1, 1, length]
        logits: Tensor = self.model(input_ids=tokens, attention_mask=mask).logits
        return logits

    def _takes_whole_mask(self) -> bool:
        """True when the model takes a mask in either form and says the same with both."""
        real = 1 if self.padding == 0 else 0
        tokens = torch.tensor([[real] * 4, [real] * 2 + [self.padding] * 2])
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                return torch.allclose(self._logits(tokens, True), self._logits(tokens, False), atol=1e-5)
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
        finally:
            self.model.train(was_training)
