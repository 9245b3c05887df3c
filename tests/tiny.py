"""A recipe of a few dozen digits and a small network: every step of a real run in a second."""

from dataclasses import replace
from functools import cache

from torch import nn

from trak_core.datasets import load_digits
from trak_core.engine import BuildSettings, MeasureSettings
from trak_core.modalities.dataset import Split
from trak_core.subjects import Recipe, Subject
from trak_core.tasks import Classification
from trak_core.training import TrainingSettings

__all__ = ["QUICK", "SETTINGS", "TINY"]

N_TRAIN, N_TEST = 120, 40


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 10))


def cut(split: Split, n: int) -> Split:
    return Split(split.inputs[:n], split.labels[:n], (split.thumbnails or [])[:n])


@cache
def load() -> Subject:
    digits = load_digits()
    dataset = replace(digits, name="tiny", train=cut(digits.train, N_TRAIN), test=cut(digits.test, N_TEST))
    training = TrainingSettings(epochs=8, batch_size=20, learning_rate=0.1, momentum=0.9, weight_decay=0.02)
    return Subject(dataset=dataset, make_model=make_model, task=Classification(), training=training)


TINY = Recipe("tiny", "A few digits", "120 training and 40 test images.", load, 2, 8, 20, 2, 3)
SETTINGS = BuildSettings.of(TINY, 0, "cpu")
QUICK = MeasureSettings(
    methods=("trak", "grad_dot", "datamodel_ridge", "random"),
    n_removal_tests=3,
    removal_sizes=(10,),
    n_removal_seeds=2,
    n_datamodel_subsets=6,
    n_truth_subsets=5,
)
