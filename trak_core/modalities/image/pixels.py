"""Images as the inputs of a model, the same for stored and for new images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trak_core.errors import InvalidDataError
from trak_core.inputs import leaves
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.image.tones import Tones

WHITE = 255.0
LEAST_DEVIATION = 1e-3
"""Where all train pixels of a channel are the same there is nothing to standardise by."""
ENLARGED = 64
"""Pixels that small images are enlarged to, by whole factors, so that browsers do not blur them."""


@dataclass(frozen=True)
class Pixels(Encoding):
    """What turns the pixels of an image into the inputs of a model."""

    kind = "pixels"
    size_names = ("channels", "height", "width")
    form = "images come as standardised pixels, float32 [n, channels, height, width]"

    height: int  # of the images that the model takes
    width: int  # likewise
    mean: tuple[float, ...]  # of each channel over the train pixels, from 0 to 1
    deviation: tuple[float, ...]  # standard deviation, likewise
    # the values that files of more than 8 bits have for black and white; empty where each has its own
    levels: tuple[float, ...] = ()
    ground: int = Tones.ground  # tone of transparent parts, 0 to 255

    @classmethod
    def learn(cls, contents: NDArray[np.uint8], source: str) -> Pixels:
        """The size of the images, and mean and deviation of their channels."""
        # From counts of the 256 tones, so that nothing large is made of the pixels.
        tones = np.arange(256) / WHITE
        means, deviations = [], []
        for channel in range(contents.shape[-1]):
            counts = np.zeros(256)
            for start in range(0, len(contents), 4096):
                counts += np.bincount(contents[start : start + 4096, ..., channel].reshape(-1), minlength=256)
            share = counts / counts.sum()
            mean = float(share @ tones)
            means.append(mean)
            deviations.append(max(float(np.sqrt(share @ (tones - mean) ** 2)), LEAST_DEVIATION))
        return cls(contents.shape[1], contents.shape[2], tuple(means), tuple(deviations))

    def settled(self, told: Mapping[str, Any]) -> Self:
        """With the scale and the ground that all images were read with."""
        return replace(self, levels=tuple(told.get("levels", ())), ground=told.get("ground", Tones.ground))

    def metadata(self) -> dict[str, Any]:
        """As in `Encoding`; nothing is said about tones that are as usual."""
        usual = {"levels": [], "ground": Tones.ground}
        return {name: value for name, value in super().metadata().items() if value != usual.get(name)}

    @classmethod
    def from_metadata(cls, kept: Mapping[str, Any]) -> Self:
        """As in `Encoding`."""
        return super().from_metadata({"levels": [], "ground": Tones.ground, **kept})

    @property
    def tones(self) -> Tones:
        """How files become tones."""
        return Tones((self.levels[0], self.levels[1]) if self.levels else None, self.ground)

    @property
    def n_channels(self) -> int:
        """1 for grey, 3 for colour."""
        return len(self.mean)

    @property
    def in_words(self) -> str:
        """What the images have, such as "32 × 32 pixels, in colour"."""
        return f"{self.width} × {self.height} pixels, {'grey' if self.n_channels == 1 else 'in colour'}"  # noqa: RUF001

    def sizes(self) -> dict[str, int]:
        """Channels, height and width."""
        return {"channels": self.n_channels, "height": self.height, "width": self.width}

    def description(self) -> tuple[str, str]:
        """The size and the tones."""
        return "images as the model takes them", self.in_words

    def inputs(self, contents: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Standardised inputs: uint8 `[n, height, width, channels]` to float32 `[n, channels, height, width]`."""
        scale = np.float32(1 / WHITE) / np.asarray(self.deviation, dtype=np.float32)
        shift = np.asarray(self.mean, dtype=np.float32) / np.asarray(self.deviation, dtype=np.float32)
        rows = np.empty((len(contents), self.n_channels, self.height, self.width), dtype=np.float32)
        for channel in range(self.n_channels):  # one at a time: nothing larger than the result is ever held
            np.multiply(contents[..., channel], scale[channel], out=rows[:, channel], dtype=np.float32)
            rows[:, channel] -= shift[channel]
        return rows


def read_thumbnails(thumbnails: Sequence[bytes], pixels: Pixels) -> NDArray[np.uint8]:
    """The pixels that thumbnails were made of: uint8 `[n, height, width, channels]`.

    Raises:
        InvalidDataError: a thumbnail has another size.
    """
    images = np.empty((len(thumbnails), pixels.height, pixels.width, pixels.n_channels), dtype=np.uint8)
    for number, content in enumerate(thumbnails):
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            array = np.asarray(image)
        if array.size != images[number].size:
            raise InvalidDataError(
                f"thumbnail {number} is {image.width} x {image.height} pixels in {image.mode}, and the model takes "
                f"{pixels.width} x {pixels.height} in {pixels.n_channels} channels; build the run again."
            )
        images[number] = array.reshape(images[number].shape)
    return images


def thumbnail(image: NDArray[np.uint8], enlarged: int = 1) -> bytes:
    """PNG bytes that hold exactly the pixels of an image, uint8 `[height, width, channels]`, each as often as asked."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if enlarged > 1:
        picture = picture.resize((picture.width * enlarged, picture.height * enlarged), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def inputs_as_pictures(inputs: Any) -> list[bytes] | None:
    """PNG images of inputs whose first array looks like images, `[n, 1 or 3, height, width]`; None for others.

    Small ones are enlarged; other numbers than bytes are stretched from darkest to brightest.
    """
    images = leaves(inputs)[0]
    if len(images.shape) != 4 or images.shape[1] not in (1, 3):
        return None
    enlarged = max(1, ENLARGED // max(images.shape[2:]))
    return [thumbnail(_as_bytes(np.moveaxis(image, 0, -1)), enlarged) for image in np.asarray(images)]


def _as_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    return ((image - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
