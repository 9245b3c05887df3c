"""What a language model is asked about: some tokens of a continuation in place of all."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trak_core.errors import InvalidSettingError
from trak_core.subjects.batches import read_data
from trak_core.tasks.ragged import IGNORED, LABELS, MASK, joined


def tokens_asked(texts: Any, start: int, stop: int | None = None) -> Tensor:
    """Targets that ask about one token of each text, or about a span of them: labels with -100 everywhere else.

    ```python
    attributor.score(test, targets=trak_core.tokens_asked(test, -1))  # the last token
    ```

    Args:
        texts: as `score` takes them, or their labels `[n, length]`.
        start: number of the first token, counted from 0 among those that labels ask about (all of a text without
            labels), and from -1 at its end.
        stop: number behind the last one, 0 for the end of the text; None asks about one token alone.

    Returns:
        Targets `[n, length]`, int64.

    Raises:
        InvalidSettingError: a text has no such token.
    """
    labels = _labels(texts)
    first, last = operator.index(start), operator.index(start if stop is None else stop - 1)
    asked = labels >= 0
    place = asked.cumsum(1) - 1
    n_asked = asked.sum(1, keepdim=True)
    low, high = (number + n_asked * (number < 0) for number in (first, last))
    wrong = ((low < 0) | (high >= n_asked) | (low > high)).nonzero()
    if len(wrong):
        row = int(wrong[0, 0])
        raise InvalidSettingError(
            f"start={start}, stop={stop}: text {row} has {int(n_asked[row])} tokens that can be asked about; give "
            "numbers among these, from 0 or from -1 at the end."
        )
    return torch.where(asked & (place >= low) & (place <= high), labels, IGNORED)


def _labels(texts: Any) -> Tensor:
    """The labels of texts, or their ids where they have none `[n, length]`."""
    if isinstance(texts, Tensor) and texts.dim() == 2:
        return texts.long()
    parts = []
    for batch in read_data(texts, "texts").batches():
        inputs: Any = batch.inputs
        labels, mask = batch.labels, inputs.get(MASK) if isinstance(inputs, Mapping) else None
        if labels is None:
            labels = inputs.get(LABELS, inputs["input_ids"]) if isinstance(inputs, Mapping) else inputs
            labels = labels if mask is None else labels.masked_fill(mask == 0, IGNORED)
        if labels.dim() != 2 or labels.is_floating_point():
            raise InvalidSettingError(f"texts have labels of shape {tuple(labels.shape)}; give token ids [n, length].")
        parts.append(labels)
    return joined(parts, IGNORED)
