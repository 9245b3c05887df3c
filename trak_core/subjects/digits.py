"""Handwritten digits with a small network: from nothing to retrained evidence in a minute on two CPU cores.

The training settings decide how well any method can work: a network trained calmly, to convergence and with weight
decay, answers a change of its training set in a way that can be predicted. They were chosen on other subsets and
seeds than those that runs report. A network has about 97% test accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trak_core.media import Picture
from trak_core.modalities import Draw, Field, NewInput, NewInputReader, Upload
from trak_core.modalities.image.new_image import FIELD, IMAGE_TYPES
from trak_core.subjects.subject import Recipe, Subject

if TYPE_CHECKING:
    from torch import nn

N_PIXELS = 64
N_HIDDEN = 128
N_CLASSES = 10


class DrawnDigits(NewInputReader):
    """Digits that somebody draws, or uploads a picture of."""

    invitation = "Upload or draw a digit"
    fields = (
        Field(
            FIELD,
            (
                Upload(
                    "Upload an image of one digit",
                    "A photo, scan or screenshot; one digit, large, on plain ground.",
                    IMAGE_TYPES,
                ),
                Draw(
                    "Sheet to draw one digit on with the mouse or a finger",
                    "Draw one digit, large. The answer comes when you pause.",
                ),
            ),
        ),
    )

    def read(self, given: Mapping[str, Any]) -> NewInput:
        """As in `NewInputReader`; contents are levels of ink, float32 `[1, 8, 8]`."""
        from trak_core.datasets.digits import ink_thumbnail
        from trak_core.subjects.drawn_digit import read_digit

        digit = read_digit(given[FIELD])
        return NewInput(digit.ink[None], (Picture(ink_thumbnail(digit.ink)),), digit.steps)


def _make_model() -> nn.Module:
    from torch import nn

    return nn.Sequential(nn.Linear(N_PIXELS, N_HIDDEN), nn.GELU(), nn.Linear(N_HIDDEN, N_CLASSES))


def _load() -> Subject:
    from trak_core.datasets.digits import load_digits
    from trak_core.tasks import label_task
    from trak_core.training import TrainingSettings

    return Subject(
        dataset=load_digits(),
        make_model=_make_model,
        task=label_task("image"),
        training=TrainingSettings(epochs=30, batch_size=128, learning_rate=0.1, momentum=0.9, weight_decay=0.02),
    )


DIGITS = Recipe(
    name="digits",
    title="Handwritten digits",
    description="1,437 training and 360 test images of 8 x 8 pixels, and a network of 9,610 parameters.",
    load=_load,
    n_checkpoints=20,
    proj_dim=128,
    n_subsets=100,
    n_seeds=4,
    new_inputs=DrawnDigits(),
)
