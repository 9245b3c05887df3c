"""scikit-learn's bundled handwritten digits: 1,797 images of 8 x 8 pixels, nothing to download."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trak_core.modalities import Dataset, Encoding, Split

N_TEST = 360
SPLIT_SEED = 0
FULL_INK = 16.0
THUMBNAIL_PIXELS = 64


@dataclass(frozen=True)
class Ink(Encoding):
    """Levels of ink, standardised over all pixels at once and flattened."""

    kind = "ink"
    size_names = ("n_pixels",)
    form = "images come as standardised levels of ink, float32 [n, 64]"

    mean: float  # over the train pixels, where 0 is paper and 1 is full ink
    deviation: float  # standard deviation, likewise

    def inputs(self, contents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Levels float32 `[n, 8, 8]` as inputs float32 `[n, 64]`."""
        rows: NDArray[np.float32] = (contents - np.float32(self.mean)) / np.float32(self.deviation)
        return rows.reshape(len(contents), -1)


def load_digits() -> Dataset:
    """The digits data set, split into 1,437 train and 360 test images, stratified by class.

    Inputs are `[n, 64]` float32, standardised by the mean and standard deviation over the train pixels. The
    split never depends on the seed of a build, so that runs with other seeds explain the same test images.
    """
    # Imported here: scikit-learn takes a second to import and only a build needs it.
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    bundle = sklearn_digits()
    labels = np.asarray(bundle.target, dtype=np.int64)
    train_rows, test_rows = train_test_split(
        np.arange(len(labels)), test_size=N_TEST, stratify=labels, random_state=SPLIT_SEED
    )
    ink = (np.asarray(bundle.images) / FULL_INK).astype(np.float32)  # [n, 8, 8], 0 is paper
    encoding = Ink(float(ink[train_rows].mean()), float(ink[train_rows].std()))

    def split(rows: NDArray[np.int64]) -> Split:
        return Split(
            inputs=encoding.inputs(ink[rows]),
            labels=labels[rows],
            thumbnails=[ink_thumbnail(image) for image in ink[rows]],
        )

    return Dataset(
        name="digits",
        modality="image",
        class_names=tuple(str(digit) for digit in range(10)),
        train=split(train_rows),
        test=split(test_rows),
        encoding=encoding,
    )


def ink_thumbnail(ink: NDArray[np.float32]) -> bytes:
    """PNG bytes of dark ink on white paper, enlarged without smoothing so that every pixel stays visible."""
    paper = Image.fromarray((255 * (1 - ink)).round().astype(np.uint8))
    buffer = io.BytesIO()
    paper.resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
