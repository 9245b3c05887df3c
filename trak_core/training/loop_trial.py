"""Tries somebody's training function before anything long starts, so that a build does not fail half way."""

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.errors import InvalidModelError
from trak_core.seeds import derive_seed
from trak_core.training.ensemble import StateDict
from trak_core.training.loop_trainer import LoopTrainer
from trak_core.training.states import is_finite
from trak_core.training.step_log import StepLog

logger = logging.getLogger(__name__)

FEW = 256
"""Examples of the first, quick look; enough to fill a batch of most loops."""
IGNORES_SEED = (
    "train_model gives the same model for every seed, so that there is no noise to tell a ceiling by: seeds count as "
    "one, and one checkpoint stands for all. Let the initial weights or the order of batches follow from seed."
)


@dataclass(frozen=True)
class LoopTrial:
    """What was found out."""

    seconds: float  # that training one model on half of the train examples takes
    ignores_seed: bool  # whether two seeds gave the same model
    state: StateDict  # weights of a model of the trial


def try_loop(trainer: LoopTrainer, seed: int) -> LoopTrial:
    """Trains a few models on few examples and one on a half; what goes wrong on few is tried again on halves.

    Raises:
        InvalidModelError: the function fails, gives no weights or such as are not finite, ignores its indices, or
            takes a log and keeps nothing in it.
        CheckpointMismatchError: weights do not fit the architecture, or do so with one seed only.
    """
    half = trainer.n_train // 2
    if half > FEW:
        try:
            found = _try(trainer, FEW, seed)
        except InvalidModelError as error:
            if error.__cause__ is None and not isinstance(error, _MayBeTooFewError):
                raise
            logger.info("on %d examples, which may be too few for its batches: %s", FEW, error)
        else:
            began = time.monotonic()
            state = trainer.train(_members(trainer.n_train, half, seed)[0], derive_seed(seed, "trial", 0))
            return LoopTrial(time.monotonic() - began, found.ignores_seed, state)
    return _try(trainer, half, seed)


class _MayBeTooFewError(InvalidModelError):
    """Something that more examples could put right."""


def _try(trainer: LoopTrainer, n: int, seed: int) -> LoopTrial:
    members, others = _members(trainer.n_train, n, seed)
    seeds = [derive_seed(seed, "trial", number) for number in range(2)]
    log = StepLog(trainer.architecture)
    began = time.monotonic()
    first = trainer.train(members, seeds[0], log)
    seconds = time.monotonic() - began
    if not is_finite(first, trainer.architecture):
        raise _MayBeTooFewError(
            f"train_model({n:,} indices, seed) gives weights that are not finite; lower its learning rate."
        )
    if trainer.takes_log and not log.ends:
        raise _MayBeTooFewError(
            "train_model takes a log and keeps nothing in it; call log.keep(model, step=..., learning_rate=...) after "
            "every epoch, or leave the third argument out."
        )
    by_another_seed = trainer.train(members, seeds[1])
    if _are_equal(first, trainer.train(others, seeds[0])):
        raise _MayBeTooFewError(
            f"train_model gives the same model for two different subsets of {n:,} train examples: it ignores its "
            "indices, so that retraining says nothing. Train on those examples alone, as in inputs[indices]."
        )
    return LoopTrial(seconds, _are_equal(first, by_another_seed), first)


def _members(n_train: int, n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two sets of `n` examples that have none in common."""
    order = np.random.default_rng(derive_seed(seed, "trial")).permutation(n_train)
    return np.sort(order[:n]), np.sort(order[n : 2 * n])


def _are_equal(one: StateDict, other: StateDict) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())
