"""Runs whose models have learnt nothing, each for another reason, and one whose models have."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from tests.tiny import N_TEST, N_TRAIN, cut
from trak_core.datasets import load_digits
from trak_core.engine import BuildSettings, build_run
from trak_core.modalities import Dataset, Split
from trak_core.modalities.text.vocabulary import Vocabulary
from trak_core.subjects import Recipe, Subject
from trak_core.tasks import Classification
from trak_core.training import TrainingSettings

USUAL = TrainingSettings(epochs=8, batch_size=20, learning_rate=0.1, momentum=0.9, weight_decay=0.02)
TWENTY_STEPS = TrainingSettings(epochs=4, batch_size=24, learning_rate=0.0005, momentum=0.9, weight_decay=0.02)


@cache
def digits() -> Dataset:
    found = load_digits()
    return replace(found, name="tiny", train=cut(found.train, N_TRAIN), test=cut(found.test, N_TEST))


def zeroed() -> Dataset:
    """Digits of which the model sees nothing."""
    found = digits()
    train, test = (replace(split, inputs=np.zeros_like(split.inputs)) for split in (found.train, found.test))
    return replace(found, train=train, test=test)


def shuffled() -> Dataset:
    """Digits whose training labels are those of others."""
    found = digits()
    labels = np.random.default_rng(1).permutation(found.train.labels)
    return replace(found, train=replace(found.train, labels=labels))


@cache
def unknown_words() -> Dataset:
    """Texts of two kinds; the test texts have no word of the training texts."""
    draw = np.random.default_rng(0)
    kinds = (["fine", "lovely", "warm", "bright"], ["dull", "awful", "cold", "grim"])
    labels = draw.permutation(np.arange(N_TRAIN) % 2)
    texts = [" ".join(draw.choice([*kinds[label], "film", "scene", "plot"], 6)) for label in labels]
    others = [" ".join(draw.choice(["schön", "kalt", "warm!!1", "öde"], 6)).replace("warm", "lau") for _ in range(40)]
    encoding = Vocabulary.learn(texts, "texts")
    train = Split(encoding.inputs(texts), labels.astype(np.int64), texts=texts)
    test = Split(encoding.inputs(others), (np.arange(40) % 2).astype(np.int64), texts=others)
    return Dataset("words", "text", ("good", "bad"), train, test, encoding)


def make_digits_model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 10))


def make_words_model() -> nn.Module:
    return nn.Sequential(nn.Linear(unknown_words().test.inputs.shape[1], 8), nn.ReLU(), nn.Linear(8, 2))


def _recipe(name: str, data: Callable[[], Dataset], training: TrainingSettings = USUAL) -> Recipe:
    make_model = make_words_model if data is unknown_words else make_digits_model
    task = Classification("text" if data is unknown_words else "image")

    def load() -> Subject:
        return Subject(dataset=data(), make_model=make_model, task=task, training=training)

    return Recipe(name, name, name, load, 2, 8, 20, 2, 0)


RECIPES_OF_TRUTH = {
    "learnt": _recipe("learnt", digits),
    "zeroed": _recipe("zeroed", zeroed),
    "unknown": _recipe("unknown", unknown_words),
    "shuffled": _recipe("shuffled", shuffled),
    "steps": _recipe("steps", digits, TWENTY_STEPS),
}
BLIND = ("zeroed", "unknown")
"""Of whose inputs the models see nothing."""
NOT_SHOWN = ("steps",)
"""Whose models are above the majority, by no more than chance makes."""
UNLEARNT = (*BLIND, "shuffled", *NOT_SHOWN)


def not_beaten(name: str) -> str:
    """What is said of the models of a run that have learnt nothing, up to the guess that they are compared with."""
    return f"The models have not {'been shown to beat' if name in NOT_SHOWN else 'beaten'} the majority: accuracy 0."


def build_all(directory: Path) -> None:
    """Builds them all, without maps, which take longest and say nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trak_core.engine.steps.map_tables", lambda writer: ({}, {}), raising=False)
        for name, recipe in RECIPES_OF_TRUTH.items():
            build_run(BuildSettings.of(recipe, 0, "cpu"), name, directory, recipe=recipe)
