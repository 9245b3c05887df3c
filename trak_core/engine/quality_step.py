"""What the models of a run have learnt, measured as soon as they have answered."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.evidence.linear_baseline import drawn_rows, linear_answers
from trak_core.evidence.model_quality import InputFacts, ModelQuality, quality_of_classes, quality_of_numbers, r2
from trak_core.inputs import all_same, take
from trak_core.modalities import Dataset, find_modality
from trak_core.tasks import Answer, Task


def model_quality(
    dataset: Dataset, task: Task, answers: Sequence[Answer | None], seed: int, known: ModelQuality | None = None
) -> dict[str, Any] | None:
    """The entry "model_quality" of a run's metadata; None where the task has no answer that can be right or near.

    Args:
        dataset: of the run.
        task: that test examples are asked.
        answers: of each checkpoint for the test examples.
        seed: of the run.
        known: what was found with other checkpoints; what the data alone tell is taken from there.
    """
    given = [answer.cpu() for answer in answers if answer is not None]
    if not given:
        return None
    labels, train_labels = dataset.test.labels, dataset.train.labels
    value = Answer.mean(given).value.numpy()
    if task.has_classes and value.shape == labels.shape:
        return quality_of_classes(
            value,
            labels,
            train_labels,
            dataset.class_names,
            float(np.mean([(answer.value.numpy() == labels).mean() for answer in given])),
            **_of_data(dataset, seed, known, lambda linear: float((linear == labels).mean())),
        ).metadata()
    if value.dtype.kind != "f" or labels.dtype.kind != "f" or not value.shape == labels.shape == (len(labels),):
        return None
    if not np.isfinite(value).all():  # a model that diverged has no errors to speak of
        return None
    targets, train_targets = labels.astype(np.float64), train_labels.astype(np.float64)
    return quality_of_numbers(
        value.astype(np.float64),
        targets,
        train_targets,
        float(np.mean([r2(answer.value.double().numpy(), targets, train_targets) for answer in given])),
        seed,
        **_of_data(dataset, seed, known, lambda linear: r2(linear.astype(np.float64), targets, train_targets)),
    ).metadata()


def _of_data(
    dataset: Dataset, seed: int, known: ModelQuality | None, measure: Callable[[NDArray[Any]], float]
) -> dict[str, Any]:
    """What a linear model reaches and what inputs tell: of the data alone, so that it is found once."""
    if known is not None and known.inputs is not None:
        return {"linear": known.linear, "inputs": known.inputs}
    linear = linear_on(dataset, seed)
    return {"linear": None if linear is None else measure(linear), "inputs": input_facts(dataset)}


def linear_on(dataset: Dataset, seed: int) -> NDArray[Any] | None:
    """What a linear model on the same inputs answers for the test examples `[n_test]`; None where there can be none."""
    rows = drawn_rows(len(dataset.train), seed)
    train, test = find_modality(dataset.modality).linear_rows(take(dataset.train.inputs, rows), dataset.test.inputs)
    return linear_answers(train, dataset.train.labels[rows], test)


def input_facts(dataset: Dataset) -> InputFacts:
    """What the inputs of a data set tell its models at all."""
    modality, train, test = find_modality(dataset.modality), dataset.train.inputs, dataset.test.inputs
    empty_tests = np.flatnonzero(modality.empty(test, dataset.encoding))
    return InputFacts(
        n_empty_train=int(modality.empty(train, dataset.encoding).sum()),
        n_empty_test=len(empty_tests),
        empty_tests=tuple(empty_tests.tolist()),
        train_same=all_same(train),
        test_same=all_same(test),
    )
