"""What if some train examples were gone? Retrains models with and without them and compares seed by seed.

Each seed decides the initial weights and the order of batches of a pair of models: one is trained on everything, for
the other the removed examples have weight 0 in the loss, so that nothing else differs (the protocol of
`trak_core/evidence/removal.py`). All pairs train at once.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trak_core.engine.retrained import train_in_parts
from trak_core.engine.subject import read_build
from trak_core.errors import RunMismatchError
from trak_core.evidence.what_if import N_SEEDS, Pairs, as_question, compare_pairs
from trak_core.inputs import as_tensors, take
from trak_core.seeds import derive_seed
from trak_core.store.run import open_run
from trak_core.store.what_ifs import Question, Verified, WhatIfHistory
from trak_core.subjects import Subject
from trak_core.tasks import Targets
from trak_core.training import Ensemble, diverged


def verify_what_if(
    run_dir: Path,
    test_idx: int,
    removed: Iterable[int],
    n_seeds: int = N_SEEDS,
    listener: Callable[[float, str], None] = lambda fraction, step: None,
) -> Verified:
    """The answer of retrained models: from the run's history if it was asked before, else found now and kept there.

    Args:
        run_dir: of a run that was built from a recipe.
        test_idx: of the test example.
        removed: numbers of train examples.
        n_seeds: pairs of models to train.
        listener: called with the fraction done, 0 to 1, and what is being done.

    Raises:
        NotInRunError: as `as_question`.
        InvalidSettingError: as `as_question`; or the run was built on a GPU, and there is none.
        RunMismatchError: the run was built by another version or from other data, or was built anew meanwhile.
        TrainingDivergedError: fewer than two pairs of models did not diverge.
        StorageError: the history cannot be written.
    """
    with open_run(run_dir) as run:
        question = as_question(run, test_idx, removed, n_seeds)
        made = run.info.provenance
    history = WhatIfHistory(run_dir)
    known = history.find(question)
    if known is not None:
        return known
    listener(0.0, "reading the data")
    with open_run(run_dir) as run:
        _, subject = read_build(run)
    began = time.monotonic()
    pairs = _train_pairs(subject, made, question, listener)
    verified = compare_pairs(question, pairs, time.monotonic() - began)
    with open_run(run_dir) as run:
        if run.info.provenance["fingerprint"] != question.fingerprint:
            raise RunMismatchError(
                f"run {run_dir.name!r} was built anew while models were retrained, so the answer fits it no longer and "
                "was not kept; ask again."
            )
    history.add(verified)
    listener(1.0, "done")
    return verified


def _train_pairs(
    subject: Subject, made: dict[str, Any], question: Question, listener: Callable[[float, str], None]
) -> Pairs:
    device, n_seeds = made["device"], question.n_seeds
    test, trainer = subject.dataset.test, subject.trainer(device)
    one, task = slice(question.test_idx, question.test_idx + 1), subject.task.query
    test_input, target = as_tensors(take(test.inputs, one), device), torch.from_numpy(test.labels[one]).to(device)
    nothing, gone = np.array([], dtype=np.int64), np.array(question.removed)
    removed = [nothing] * n_seeds + [gone] * n_seeds
    seeds = [derive_seed(made["seed"], "what if", i) for i in range(n_seeds)] * 2
    n_models, done = len(seeds), 0.0

    def advance(models: int, share: float) -> None:
        nonlocal done
        done += share * models / n_models
        # The last hundredth is for what comes after training.
        listener(0.99 * done, f"training {n_models} models")

    def train_part(part: slice) -> Ensemble:
        of_part = seeds[part]
        return trainer.train_without(removed[part], of_part, partial(advance, len(of_part)))

    outputs, answers = [], []
    for _, ensemble in train_in_parts(trainer, n_models, train_part):
        given = ensemble.outputs(task, test_input)  # [n_models, 1, ...]
        targets = Targets.of(task, given[0], target)
        found = ensemble.of_each("model_outputs", task, given, targets.every)[:, 0].double().cpu().numpy()
        found[diverged(ensemble)] = np.nan
        outputs.append(found)
        answers += [answer.value[0].item() if task.has_classes else 0 for answer in ensemble.answers(task, given)]
    of_all = np.concatenate(outputs)
    answered = np.array(answers or [0] * n_models, dtype=np.int64).reshape(2, n_seeds)
    return Pairs(of_all[:n_seeds], of_all[n_seeds:], answered)
