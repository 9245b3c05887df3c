"""Texts of different lengths: targets, outputs and inputs `[n, length]` have as many columns as their batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

IGNORED = -100
"""The label of a token that is not asked about, as Hugging Face has it."""
LABELS = "labels"
MASK = "attention_mask"


def joined(parts: Sequence[Tensor], fill: int) -> Tensor:
    """The rows of several tensors in one; those of shorter ones `[n, length]` are filled up on the right."""
    if len({part.shape[1:] for part in parts}) > 1 and all(part.dim() == 2 for part in parts):
        width = max(part.shape[1] for part in parts)
        parts = [_widened(part, width, fill) for part in parts]
    return torch.cat(list(parts))


def cut_to(targets: Tensor, labels: Tensor | None) -> Tensor:
    """Targets `[n, any]` with as many columns as the labels of their batch have, as far as nothing asked about is lost.

    Targets that are no tokens come back as they are.
    """
    if labels is None or labels.dim() != 2 or targets.dim() != 2 or targets.is_floating_point():
        return targets
    width = labels.shape[1]
    if targets.shape[1] <= width:
        return _widened(targets, width, IGNORED)
    # A token asked about behind the text stays: the task then refuses targets of this shape.
    return targets if bool((targets[:, width:] >= 0).any()) else targets[:, :width]


def same_length(batches: Sequence[Any]) -> list[Any]:
    """Inputs of several batches, those with an attention mask filled up on the right to one length and masked there."""
    if not all(isinstance(batch, dict) and MASK in batch for batch in batches):
        return list(batches)
    widths = {name: max(_width(batch[name]) for batch in batches) for name in batches[0]}
    return [
        {
            name: _widened(part, widths[name], IGNORED if name == LABELS else 0) if _width(part) else part
            for name, part in batch.items()
        }
        for batch in batches
    ]


def _width(part: Any) -> int:
    """Number of columns of whole numbers, such as ids; 0 for anything else."""
    is_ids = isinstance(part, Tensor) and part.dim() == 2 and not part.is_floating_point()
    return int(part.shape[1]) if is_ids else 0


def _widened(part: Tensor, width: int, fill: int) -> Tensor:
    return pad(part, (0, width - part.shape[1]), value=fill)
