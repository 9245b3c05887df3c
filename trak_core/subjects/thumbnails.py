"""Pictures of examples for the explorer, made from what the model takes."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trak_core.subjects.batches import Block

__all__ = ["thumbnails"]

THUMBNAIL = 64
"""Pixels that small images are enlarged to, by whole factors, so that browsers do not blur them."""


def thumbnails(block: Block) -> list[bytes | None]:
    """PNG images of inputs that look like images, None for others."""
    return [_png(image) for batch in block.batches for image in _images(batch.inputs)]


def _images(inputs: Any) -> Iterator[NDArray[Any] | None]:
    if not isinstance(inputs, Tensor):
        inputs = next(iter(inputs.values() if isinstance(inputs, dict) else inputs))
    is_image = inputs.dim() == 4 and inputs.shape[1] in (1, 3)
    for one in inputs:
        yield one.movedim(0, -1).numpy() if is_image else None


def _png(image: NDArray[Any] | None) -> bytes | None:
    """The image as PNG, small ones enlarged; other numbers than bytes are stretched from darkest to brightest."""
    if image is None:
        return None
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    shown = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    factor = max(1, THUMBNAIL // max(shown.size))
    buffer = io.BytesIO()
    shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST).save(buffer, format="PNG")
    return buffer.getvalue()
