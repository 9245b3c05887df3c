"""What retrained models say of test examples, asked in parts that fit into memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.methods import Examples
from trak_core.tasks import Task
from trak_core.training import Ensemble, Trainer, diverged


@dataclass(frozen=True)
class Answers:
    """What models say of test examples."""

    # model outputs of the targets, float64 `[n_models, n_tests]`; NaN for models that diverged
    margins: NDArray[np.float64]
    # the answers, classes or numbers `[n_models, n_tests]`; None where the task has none of its own
    values: NDArray[Any] | None
    right: NDArray[np.bool_]  # whether the answer is right, True where that means nothing, bool `[n_models, n_tests]`


def train_in_parts(
    trainer: Trainer, n_models: int, train: Callable[[slice], Ensemble]
) -> Iterator[tuple[slice, Ensemble]]:
    """Models trained as many at once as the trainer takes, each part with its place among all."""
    for start in range(0, n_models, trainer.at_once):
        part = slice(start, min(n_models, start + trainer.at_once))
        yield part, train(part)


def answers_of(
    trainer: Trainer, task: Task, test: Examples, n_models: int, train: Callable[[slice], Ensemble]
) -> Answers:
    """Answers of `n_models` models to test examples with their targets, trained part by part by `train`."""
    margins, values, right = [], [], []
    for _, ensemble in train_in_parts(trainer, n_models, train):
        outputs = ensemble.outputs(task.query, test.inputs)  # [n_models, n_tests, ...]
        found = ensemble.of_each("model_output", task.query, outputs, test.targets).double().cpu().numpy()
        found[diverged(ensemble)] = np.nan
        margins.append(found)
        values += [answer.value.cpu().numpy() for answer in ensemble.answers(task.query, outputs)]
        right.append(ensemble.right(task.query, outputs, test.targets))
    return Answers(np.concatenate(margins), np.stack(values) if values else None, np.concatenate(right))
