"""Handwritten digits with a small network: from nothing to retrained evidence in a minute on two CPU cores.

The training settings decide how well any method can work: a network trained calmly, to convergence and with weight
decay, answers a change of its training set in a way that can be predicted. They were chosen on other subsets and
seeds than those that runs report. A network has about 97% test accuracy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trak_core.subjects.recipe import Recipe
from trak_core.subjects.subject import Subject

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DIGITS"]

N_PIXELS = 64
N_HIDDEN = 128
N_CLASSES = 10


def _make_model() -> nn.Module:
    from torch import nn

    return nn.Sequential(nn.Linear(N_PIXELS, N_HIDDEN), nn.GELU(), nn.Linear(N_HIDDEN, N_CLASSES))


def _load() -> Subject:
    from trak_core.datasets import load_digits
    from trak_core.tasks import Classification
    from trak_core.training import TrainingSettings

    return Subject(
        dataset=load_digits(),
        make_model=_make_model,
        task=Classification(),
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
)
