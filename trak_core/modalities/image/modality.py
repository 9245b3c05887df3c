"""Images as a modality: contents are uint8 `[n, height, width, channels]`, and what is shown is a PNG of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError
from trak_core.inputs import ArrayInputs, all_same, leaves
from trak_core.media import Medium, Picture, first_picture
from trak_core.modalities.encoding import Encoding
from trak_core.modalities.image.new_image import NewImages
from trak_core.modalities.image.pixels import Pixels, inputs_as_pictures, read_thumbnails, thumbnail
from trak_core.modalities.image.torchvision_models import Torchvision
from trak_core.modalities.modality import Modality
from trak_core.modalities.ready_model import HowTrained, ReadyModel

SMALL_GREY = 32
"""Grey images of up to so many pixels a side are told apart well by a network without convolutions."""

PLAIN_SHARE = 0.5
"""Where more of the images than that are of one tone each, their tones are what they tell."""


def _networks() -> Any:
    """The module, imported when a model is made: torch takes seconds."""
    from trak_core.modalities.image import networks

    return networks


class ImageModality(Modality):
    """Images of one size, grey or in colour."""

    name = "image"
    noun = "image"
    plural = "images"
    encodings = (Pixels,)
    models = (
        ReadyModel(
            "mlp",
            "one hidden layer",
            Pixels.kind,
            lambda sizes: _networks().small_mlp(
                math.prod(sizes[name] for name in Pixels.size_names), sizes["n_classes"]
            ),
            HowTrained(20, 100, 0.05, 0.002),
        ),
        ReadyModel(
            "cnn",
            "two convolutions",
            Pixels.kind,
            lambda sizes: _networks().CompactCnn(sizes["channels"], sizes["n_classes"]),
            HowTrained(12, 50, 0.05, 0.002),
        ),
        ReadyModel(
            "resnet9",
            "a residual network of nine layers, for a GPU",
            Pixels.kind,
            lambda sizes: _networks().ResNet9(sizes["channels"], sizes["n_classes"]),
            HowTrained(16, 128, 0.05, 0.0005),
        ),
    )
    libraries = (Torchvision(),)

    def media(self, contents: NDArray[np.uint8]) -> list[tuple[Medium, ...]]:
        """A PNG that holds exactly the pixels of each image."""
        return [(Picture(thumbnail(image)),) for image in contents]

    def contents(self, media: Sequence[tuple[Medium, ...]], encoding: Encoding) -> NDArray[np.uint8]:
        """The pixels of the pictures."""
        pictures = [picture for one in media if (picture := first_picture(one)) is not None]
        if not isinstance(encoding, Pixels) or len(pictures) != len(media):
            raise InvalidDataError(
                f"{len(pictures):,} of {len(media):,} examples have a picture, and their encoding is "
                f"{encoding.kind!r}; images have one each, and pixels"
            )
        return read_thumbnails(pictures, encoding)

    def new_inputs(self, encoding: Encoding) -> NewImages | None:
        """An upload, brought to the size and tones of the training images."""
        return NewImages(encoding) if isinstance(encoding, Pixels) else None

    def seen_in(self, inputs: Any) -> list[tuple[Medium, ...]] | None:
        """A picture of each, where they have the shape of images."""
        pictures = inputs_as_pictures(inputs)
        return None if pictures is None else [(Picture(picture),) for picture in pictures]

    def empty(self, inputs: ArrayInputs, encoding: Encoding | None) -> NDArray[np.bool_]:
        """Images of one tone, unless most are of one tone each and differ in it: then the tone is what they tell."""
        tones = [leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves(inputs) if leaf.ndim > 2]
        if not tones:  # rows of pixels
            tones = [leaf.reshape(len(leaf), 1, -1) for leaf in leaves(inputs)]
        plain = np.logical_and.reduce([(each == each[..., :1]).all(axis=(1, 2)) for each in tones])
        distinct = any(not all_same(each[plain, :, :1]) for each in tones) and plain.sum() > 1
        return np.zeros_like(plain) if distinct and plain.mean() > PLAIN_SHARE else plain

    def sizes(self, train: NDArray[np.uint8], test: NDArray[np.uint8]) -> str:
        """Width, height and tones, which all have."""
        _, height, width, channels = train.shape
        return f"Images of {width} x {height} pixels (width x height), {'grey' if channels == 1 else 'in colour'}."

    def usual_model(self, contents: NDArray[np.uint8]) -> str:
        """One hidden layer for small grey images, convolutions for others."""
        _, height, width, channels = contents.shape
        return "mlp" if channels == 1 and max(height, width) <= SMALL_GREY else "cnn"
