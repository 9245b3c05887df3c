"""Pictures of what a model takes, for people who bring a model and no pictures."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trak_core.inputs import leaves

ENLARGED = 64
"""Pixels that small images are enlarged to, by whole factors, so that browsers do not blur them."""


def inputs_as_pictures(inputs: Any) -> list[bytes] | None:
    """PNG images of inputs whose first array looks like images, `[n, 1 or 3, height, width]`; None for others.

    Args:
        inputs: arrays or tensors on the CPU.
    """
    images = leaves(inputs)[0]
    if len(images.shape) != 4 or images.shape[1] not in (1, 3):
        return None
    return [_png(np.moveaxis(image, 0, -1)) for image in np.asarray(images)]


def _png(image: NDArray[Any]) -> bytes:
    """The image as PNG, small ones enlarged; other numbers than bytes are stretched from darkest to brightest."""
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    shown = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    factor = max(1, ENLARGED // max(shown.size))
    buffer = io.BytesIO()
    shown.resize((shown.width * factor, shown.height * factor), Image.Resampling.NEAREST).save(buffer, format="PNG")
    return buffer.getvalue()
