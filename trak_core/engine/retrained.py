"""What retrained models say of test examples, asked in parts that fit into memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.methods import Examples
from trak_core.tasks import Classification
from trak_core.training import Ensemble, Trainer, diverged

__all__ = ["Answers", "answers_of", "train_in_parts"]


@dataclass(frozen=True)
class Answers:
    """What models say of test examples.

    Attributes:
        margins: of the labels, float64 `[n_models, n_tests]`; NaN for models that diverged.
        classes: the answers, int64 `[n_models, n_tests]`.
        right: whether the label is the answer, bool `[n_models, n_tests]`.
    """

    margins: NDArray[np.float64]
    classes: NDArray[np.int64]
    right: NDArray[np.bool_]


def train_in_parts(
    trainer: Trainer, n_models: int, train: Callable[[slice], Ensemble]
) -> Iterator[tuple[slice, Ensemble]]:
    """Models trained as many at once as the trainer takes, each part with its place among all."""
    for start in range(0, n_models, trainer.at_once):
        part = slice(start, min(n_models, start + trainer.at_once))
        yield part, train(part)


def answers_of(
    trainer: Trainer, task: Classification, test: Examples, n_models: int, train: Callable[[slice], Ensemble]
) -> Answers:
    """Answers of `n_models` models, trained part by part by `train`.

    Args:
        trainer: that trains them.
        task: what a prediction is.
        test: test examples with their labels.
        n_models: how many.
        train: gives the models of a part.
    """
    margins, classes = [], []
    for _, ensemble in train_in_parts(trainer, n_models, train):
        logits = ensemble.logits(test.inputs)
        found = task.model_output(logits, test.asked.expand(len(logits), -1)).double().cpu().numpy()
        found[diverged(ensemble)] = np.nan
        margins.append(found)
        classes.append(logits.argmax(-1).cpu().numpy())
    every = np.concatenate(classes)
    return Answers(np.concatenate(margins), every, every == test.asked.cpu().numpy())
