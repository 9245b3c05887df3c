"""Networks for texts: over weighted words, a small transformer over their order, and pretrained classifiers."""

import math
from typing import Any

import torch
from torch import Tensor, nn

PADDING = 0
"""The token that fills short texts up."""
HIDDEN = 32


def words_mlp(n_words: int, n_classes: int) -> nn.Module:
    """One hidden layer of 32 units over weighted words: `[n, n_words]` to logits `[n, n_classes]`."""
    return nn.Sequential(nn.Linear(n_words, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, n_classes))


class SmallTransformer(nn.Module):
    """An encoder that reads tokens `[n, length]` (int64, 0 is padding) and gives logits `[n, n_classes]`.

    Normalisation comes before attention and before the feed-forward part, and the last rows are averaged over what is
    no padding (Xiong et al. 2020, "On layer normalization in the transformer architecture").
    """

    def __init__(
        self, n_tokens: int, length: int, n_classes: int, width: int = 64, n_heads: int = 4, n_layers: int = 2
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(n_tokens, width)
        self.places = nn.Embedding(length, width)
        self.layers = nn.ModuleList(_Layer(width, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_classes)
        for table in (self.words, self.places):
            nn.init.normal_(table.weight, std=1 / math.sqrt(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits `[n, n_classes]`."""
        present = tokens != PADDING
        rows = self.words(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        for layer in self.layers:
            rows = layer(rows, present)
        present_rows = self.norm(rows) * present[..., None]
        # A text without a known word has no row; its average is zero rather than 0 / 0.
        means = present_rows.sum(-2) / present.sum(-1, keepdim=True).clamp(min=1)
        logits: Tensor = self.head(means)
        return logits


class _Layer(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(width)
        self.attended = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, rows: Tensor, present: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(-2, -3)  # [n, n_heads, length, width / n_heads]
            for part in self.attended(self.attention_norm(rows)).chunk(3, dim=-1)
        )
        logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        # Large and finite: a text of padding alone would otherwise give 0 / 0.
        weights = logits.masked_fill(~present[..., None, None, :], -1e9).softmax(-1)
        rows = rows + self.mixed((weights @ value).transpose(-2, -3).flatten(-2))
        fed: Tensor = rows + self.feed(self.feed_norm(rows))
        return fed


class TokenClassifier(nn.Module):
    """A pretrained sequence classifier that takes tokens alone, so that it trains like any other network.

    Takes tokens `[n, length]` (int64), gives logits `[n, n_classes]`, without dropout.
    """

    def __init__(self, model: Any, padding: int) -> None:
        super().__init__()
        self.model = model
        self.padding = padding
        for parent in [*model.modules()]:
            for name, child in [*parent.named_children()]:
                if isinstance(child, nn.modules.dropout._DropoutNd):
                    setattr(parent, name, nn.Dropout(0.0))  # some models read its share while they train
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
