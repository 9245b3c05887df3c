"""What did the review of the labels come to? Retrains models on the labels as given and as corrected.

Each seed decides the initial weights and the order of batches of three models, one for each set of labels (see
`trak_core/evidence/retraining.py`), so that nothing but the labels differs. What is left out has weight 0 in the loss
and stays in its batches, and the loss is still divided by the size of the batch: the protocol of removal and of
what-ifs (`trak_core/evidence/removal.py`). Models of one set train at once, and all sets train in groups of the same
size, because only then are sums over a group rounded alike: equal labels give equal models to the last bit.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.engine.retrained import answers_of
from trak_core.engine.subject import read_build
from trak_core.errors import RunMismatchError
from trak_core.evidence.retraining import N_SEEDS, LabelSetName, TestAnswers, as_trial, compare_label_sets
from trak_core.inputs import as_tensors
from trak_core.methods import Examples
from trak_core.seeds import derive_seed
from trak_core.store.retrainings import Corrections, LabelTrial, Retraining, RetrainingHistory
from trak_core.store.run import open_run
from trak_core.subjects import Subject
from trak_core.training import Ensemble, Trainer


def retrain_on_labels(
    run_dir: Path,
    corrections: Corrections,
    n_seeds: int = N_SEEDS,
    listener: Callable[[float, str], None] = lambda fraction, step: None,
) -> Retraining:
    """What retrained models get right: from the run's history if the same was asked before, else found and kept there.

    Args:
        run_dir: of a run that was built from a recipe.
        corrections: of its labels.
        n_seeds: models to train on each set of labels.
        listener: called with the fraction done, 0 to 1, and what is being done.

    Raises:
        NotInRunError: as `as_trial`.
        InvalidSettingError: as `as_trial`; or the run was built on a GPU, and there is none.
        RunMismatchError: the run was built by another version or from other data, or was built anew meanwhile.
        TrainingDivergedError: there are fewer than two seeds of which no model diverged.
        StorageError: the history cannot be written.
    """
    with open_run(run_dir) as run:
        trial = as_trial(run, corrections, n_seeds)
        made, test_labels = run.info.provenance, run.test_labels
    history = RetrainingHistory(run_dir)
    known = history.find(trial)
    if known is not None:
        return known
    listener(0.0, "reading the data")
    with open_run(run_dir) as run:
        _, subject = read_build(run)
    began = time.monotonic()
    found = _train_sets(subject, made, trial, listener)
    retraining = compare_label_sets(trial, found, test_labels, time.monotonic() - began)
    with open_run(run_dir) as run:
        if run.info.provenance["fingerprint"] != trial.fingerprint:
            raise RunMismatchError(
                f"run {run_dir.name!r} was built anew while models were retrained, so the answer fits it no longer and "
                "was not kept; ask again."
            )
    history.add(retraining)
    listener(1.0, "done")
    return retraining


def _train_sets(
    subject: Subject, made: dict[str, Any], trial: LabelTrial, listener: Callable[[float, str], None]
) -> dict[LabelSetName, TestAnswers]:
    train, test, device = subject.dataset.train, subject.dataset.test, made["device"]
    tests = Examples(as_tensors(test.inputs, device), torch.from_numpy(test.labels).to(device))
    trainer, corrections = subject.trainer(device), trial.corrections
    cleaned = train.labels.copy()
    for train_idx, label in corrections.relabelled:
        cleaned[train_idx] = label
    nothing = np.array([], dtype=np.int64)
    excluded, wrong = (np.array(idxs, dtype=np.int64) for idxs in (corrections.excluded, corrections.wrong))
    label_sets: dict[LabelSetName, tuple[Tensor | None, NDArray[np.int64]]] = {
        "kept": (None, nothing),
        "cleaned": (torch.from_numpy(cleaned).to(device) if corrections.relabelled else None, excluded),
        "excluded": (None, wrong),
    }
    if not corrections.relabelled:  # then leaving out all that was found wrong is the cleaning itself
        del label_sets["excluded"]
    seeds = [derive_seed(made["seed"], "retraining", i) for i in range(trial.n_seeds)]
    n_models = len(seeds) * len(label_sets)
    done = 0.0

    def advance(models: int, share: float) -> None:
        nonlocal done
        done += share * models / n_models
        # The last hundredth is for what comes after training.
        listener(0.99 * done, f"training {n_models} models")

    found: dict[LabelSetName, TestAnswers] = {}
    for name, (labels, left_out) in label_sets.items():
        on_labels = trainer if labels is None else trainer.with_labels(labels)

        def train_part(part: slice, on_labels: Trainer = on_labels, left_out: NDArray[np.int64] = left_out) -> Ensemble:
            of_part = seeds[part]
            return on_labels.train_without([left_out] * len(of_part), of_part, partial(advance, len(of_part)))

        answers = answers_of(on_labels, subject.task, tests, len(seeds), train_part)
        assert answers.values is not None  # a task with classes answers one of them
        found[name] = TestAnswers(answers.margins, answers.values)
    return {**found, "excluded": found.get("excluded", found["cleaned"])}
