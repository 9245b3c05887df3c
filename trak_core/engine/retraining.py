"""Retrains models to answer what somebody asks of a run: what-ifs, and what a review of its labels came to.

What is removed has weight 0 in the loss and stays in its batches, and the loss is still divided by the size of the
batch: the protocol of `trak_core/evidence/removal.py`. What was asked before is answered from the run's history.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.engine.method_context import examples_of
from trak_core.engine.retrained import answers_of, train_in_parts
from trak_core.engine.subject import read_build
from trak_core.errors import RunMismatchError
from trak_core.evidence.retraining import N_SEEDS, LabelSetName, TestAnswers, as_trial, compare_label_sets
from trak_core.evidence.what_if import N_SEEDS as N_PAIRS
from trak_core.evidence.what_if import Pairs, as_question, compare_pairs
from trak_core.inputs import as_tensors, take
from trak_core.seeds import derive_seed
from trak_core.store.retrainings import Corrections, LabelTrial, Retraining, RetrainingHistory
from trak_core.store.run import open_run
from trak_core.store.what_ifs import Question, Verified, WhatIfHistory
from trak_core.subjects import Subject
from trak_core.tasks import Targets
from trak_core.training import Ensemble, Trainer, diverged

Listener = Callable[[float, str], None]
NOTHING = np.array([], dtype=np.int64)

Answer = TypeVar("Answer")


def _tell_nobody(fraction: float, step: str) -> None:
    pass


class _History(Protocol[Answer]):
    def find(self, asked: Any, /) -> Answer | None: ...

    def add(self, answer: Answer, /) -> None: ...


def verify_what_if(
    run_dir: Path, test_idx: int, removed: Iterable[int], n_seeds: int = N_PAIRS, listener: Listener = _tell_nobody
) -> Verified:
    """What if some train examples were gone? Compares models trained with and without them, seed by seed.

    Args:
        run_dir: of a run that was built from a recipe.
        test_idx: of the test example.
        removed: numbers of train examples.
        n_seeds: pairs of models to train.
        listener: called with the fraction done, 0 to 1, and what is being done.

    Raises:
        NotInRunError, InvalidSettingError: as `as_question`; or the run was built on a GPU, and there is none.
        RunMismatchError: the run was built by another version or from other data, or was built anew meanwhile.
        TrainingDivergedError: fewer than two pairs of models did not diverge.
        StorageError: the history cannot be written.
    """
    with open_run(run_dir) as run:
        question = as_question(run, test_idx, removed, n_seeds)
        made = run.info.provenance

    def find(subject: Subject) -> Verified:
        began = time.monotonic()
        pairs = _train_pairs(subject, made, question, listener)
        return compare_pairs(question, pairs, time.monotonic() - began)

    return _answer(run_dir, question, WhatIfHistory(run_dir), find, listener)


def retrain_on_labels(
    run_dir: Path, corrections: Corrections, n_seeds: int = N_SEEDS, listener: Listener = _tell_nobody
) -> Retraining:
    """What did the review of the labels come to? Compares models trained on the labels as given and as corrected.

    Arguments and errors are those of `verify_what_if`, with `as_trial` in place of `as_question`; `n_seeds` models are
    trained on each set of labels.
    """
    with open_run(run_dir) as run:
        trial = as_trial(run, corrections, n_seeds)
        made, test_labels = run.info.provenance, run.test_labels

    def find(subject: Subject) -> Retraining:
        began = time.monotonic()
        found = _train_sets(subject, made, trial, listener)
        return compare_label_sets(trial, found, test_labels, time.monotonic() - began)

    return _answer(run_dir, trial, RetrainingHistory(run_dir), find, listener)


def _answer(
    run_dir: Path,
    asked: Question | LabelTrial,
    history: _History[Answer],
    find: Callable[[Subject], Answer],
    listener: Listener,
) -> Answer:
    """The answer from the run's history if the same was asked before, else found now and kept there."""
    if (known := history.find(asked)) is not None:
        return known
    listener(0.0, "reading the data")
    with open_run(run_dir) as run:
        _, subject = read_build(run)
    found = find(subject)
    with open_run(run_dir) as run:
        if run.info.provenance["fingerprint"] != asked.fingerprint:
            raise RunMismatchError(
                f"run {run_dir.name!r} was built anew while models were retrained, so the answer fits it no longer and "
                "was not kept; ask again."
            )
    history.add(found)
    listener(1.0, "done")
    return found


def _advance(listener: Listener, n_models: int) -> Callable[[int, float], None]:
    """Tells of a share done of some of the models that are trained."""
    done = 0.0

    def advance(models: int, share: float) -> None:
        nonlocal done
        done += share * models / n_models
        # The last hundredth is for what comes after training.
        listener(0.99 * done, f"training {n_models} models")

    return advance


def _train_pairs(subject: Subject, made: dict[str, Any], question: Question, listener: Listener) -> Pairs:
    """Each seed decides the initial weights and the order of batches of two models; all pairs train at once."""
    device, n_seeds = made["device"], question.n_seeds
    test, trainer = subject.dataset.test, subject.trainer(device)
    one, task = slice(question.test_idx, question.test_idx + 1), subject.task.query
    test_input, target = as_tensors(take(test.inputs, one), device), torch.from_numpy(test.labels[one]).to(device)
    removed = [NOTHING] * n_seeds + [np.array(question.removed)] * n_seeds
    seeds = [derive_seed(made["seed"], "what if", i) for i in range(n_seeds)] * 2
    advance = _advance(listener, len(seeds))

    def train_part(part: slice) -> Ensemble:
        of_part = seeds[part]
        return trainer.train_without(removed[part], of_part, partial(advance, len(of_part)))

    outputs, answers = [], []
    for _, ensemble in train_in_parts(trainer, len(seeds), train_part):
        given = ensemble.outputs(task, test_input)  # [n_models, 1, ...]
        targets = Targets.of(task, given[0], target)
        found = ensemble.of_each("model_outputs", task, given, targets.every)[:, 0].double().cpu().numpy()
        found[diverged(ensemble)] = np.nan
        outputs.append(found)
        answers += [answer.value[0].item() if task.has_classes else 0 for answer in ensemble.answers(task, given)]
    of_all = np.concatenate(outputs)
    answered = np.array(answers or [0] * len(seeds), dtype=np.int64).reshape(2, n_seeds)
    return Pairs(of_all[:n_seeds], of_all[n_seeds:], answered)


def _train_sets(
    subject: Subject, made: dict[str, Any], trial: LabelTrial, listener: Listener
) -> dict[LabelSetName, TestAnswers]:
    """Each seed decides the initial weights and the order of batches of three models, one for each set of labels.

    Models of one set train at once, and all sets train in groups of the same size, because only then are sums over a
    group rounded alike: equal labels give equal models to the last bit.
    """
    train, device = subject.dataset.train, made["device"]
    tests, trainer, corrections = examples_of(subject.dataset.test, device), subject.trainer(device), trial.corrections
    cleaned = train.labels.copy()
    for train_idx, label in corrections.relabelled:
        cleaned[train_idx] = label
    excluded, wrong = (np.array(idxs, dtype=np.int64) for idxs in (corrections.excluded, corrections.wrong))
    label_sets: dict[LabelSetName, tuple[Tensor | None, NDArray[np.int64]]] = {
        "kept": (None, NOTHING),
        "cleaned": (torch.from_numpy(cleaned).to(device) if corrections.relabelled else None, excluded),
        "excluded": (None, wrong),
    }
    if not corrections.relabelled:  # then removing all that was found wrong is the cleaning itself
        del label_sets["excluded"]
    seeds = [derive_seed(made["seed"], "retraining", i) for i in range(trial.n_seeds)]
    advance = _advance(listener, len(seeds) * len(label_sets))
    found: dict[LabelSetName, TestAnswers] = {}
    for name, (labels, removed) in label_sets.items():
        on_labels = trainer if labels is None else trainer.with_labels(labels)

        def train_part(part: slice, on_labels: Trainer = on_labels, removed: NDArray[np.int64] = removed) -> Ensemble:
            of_part = seeds[part]
            return on_labels.train_without([removed] * len(of_part), of_part, partial(advance, len(of_part)))

        answers = answers_of(on_labels, subject.task, tests, len(seeds), train_part)
        assert answers.values is not None  # a task with classes answers one of them
        found[name] = TestAnswers(answers.margins, answers.values)
    return {**found, "excluded": found.get("excluded", found["cleaned"])}
