"""Trains by somebody's own function, one model after another: any optimizer, augmentation, BatchNorm, dropout.

`try_loop` tries it before anything long starts, so that a build does not fail half way.
"""

import inspect
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trak_core.errors import (
    InvalidModelError,
    InvalidSettingError,
    NeedNotMetError,
    TrainingDivergedError,
    running_own_code,
)
from trak_core.seeds import derive_seed
from trak_core.training.ensemble import Ensemble, StateDict
from trak_core.training.states import expected_shapes, fitting_state, is_finite
from trak_core.training.step_log import StepLog
from trak_core.training.trainer import Masks, OnShare, Trained, ignore_share, removal_weights

logger = logging.getLogger(__name__)

TrainModel = Callable[..., Any]
"""`train_model(indices, seed)` or `train_model(indices, seed, log)`; gives a state dict, or the trained module.

`indices` are int64 numbers of train examples, rising; `seed` is an int from 0 to 2^31 - 1."""

SEEDS = 2**31
"""NumPy takes no larger seeds than 32 bits."""
MOST_AT_ONCE = 8
MEMORY = 2**30
"""Bytes that the models of one call may take together."""
FEW = 256
"""Examples of the first, quick look; enough to fill a batch of most loops."""
LEAST_STATES = 3
"""Of a log: stretches of training are told apart by them."""
SAME = 1e-3
"""Largest difference of a weight, relative to the largest, between two trainings that are the same: devices round."""
IGNORES_SEED = (
    "train_model gives the same model for every seed, so that there is no noise to tell a ceiling by: seeds count as "
    "one, and one checkpoint stands for all. Let the initial weights or the order of batches follow from seed."
)
NOT_REPRODUCIBLE = (
    "train_model gives another model when it is called again with the same indices and seed, so that a build that was "
    "stopped goes on with other numbers than an unbroken one, and the noise counts as that of seeds. Let every random "
    "choice follow from seed."
)
NOTES = (IGNORES_SEED, NOT_REPRODUCIBLE)


def takes_log(train_model: TrainModel) -> bool:
    """True when the function wants a third argument, the `StepLog`.

    Raises:
        InvalidSettingError: it is no function, or cannot be called with indices and a seed.
    """
    wanted = "give a function train_model(indices, seed), or train_model(indices, seed, log), that returns a state dict"
    if not callable(train_model):
        raise InvalidSettingError(f"train_model is a {type(train_model).__name__}; {wanted}.")
    try:
        signature = inspect.signature(train_model)
    except (TypeError, ValueError):
        return False  # some callables written in C do not tell
    with suppress(TypeError):
        if "log" in signature.bind(None, 0, None).arguments:
            return True  # a third argument of another meaning has a default
    with suppress(TypeError):
        signature.bind(None, 0)
        return False
    raise InvalidSettingError(f"train_model{signature} cannot be called with indices and a seed; {wanted}.")


@dataclass(frozen=True)
class LoopTrainer:
    """A `Trainer` around a function `train_model`.

    Random numbers of torch, NumPy and Python begin at the seed whenever the function is called, so that one that draws
    from them without a thought to `seed` still gives the same model for the same seed.
    """

    train_model: TrainModel
    architecture: nn.Module  # of its models
    n_train: int  # number of train examples
    device: str = "cpu"  # that the trained weights are put on; the function trains wherever it likes
    takes_log: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "takes_log", takes_log(self.train_model))

    @property
    def at_once(self) -> int:
        """As in `Trainer`: few, because they are trained one after another anyway."""
        size = 4 * sum(shape.numel() for shape in expected_shapes(self.architecture).values())
        return max(1, min(MOST_AT_ONCE, MEMORY // max(1, size)))

    @property
    def smallest_subset(self) -> int:
        """As in `Trainer`; whether its batches are filled is the function's own affair."""
        return 1

    @property
    def weighs_losses(self) -> bool:
        """As in `Trainer`."""
        return False

    def train(self, indices: NDArray[np.int64], seed: int, log: StepLog | None = None) -> StateDict:
        """The weights of one model, trained on the examples with these numbers; they may not be finite.

        Raises:
            InvalidModelError: the function fails, or gives something else than weights.
            CheckpointMismatchError: the weights do not fit the architecture.
        """
        seed %= SEEDS
        what = f"train_model({len(indices):,} indices, seed {seed})"
        more = (log or StepLog(self.architecture, is_kept=False),) if self.takes_log else ()
        with _seeded(seed), running_own_code(what, InvalidModelError):
            given = self.train_model(indices.copy(), seed, *more)
        return fitting_state(given, self.architecture, what, self.device)

    def train_subsets(self, masks: Masks, seeds: Sequence[int], on_share: OnShare = ignore_share) -> Ensemble:
        """As in `Trainer`; subsets may be of any size."""
        members = [np.flatnonzero(mask) for mask in masks]
        return self._ensemble(
            [self._one(each, seed, len(seeds), on_share) for each, seed in zip(members, seeds, strict=True)]
        )

    def train_without(
        self, removed: Sequence[NDArray[np.int64]], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """As in `Trainer`: models trained on the others."""
        return self.train_subsets(removal_weights(removed, self.n_train) > 0, seeds, on_share)

    def train_checkpoints(self, seeds: Sequence[int], n_logged: int, on_share: OnShare = ignore_share) -> Trained:
        """As in `Trainer`; logs are those that the function keeps."""
        everybody = np.arange(self.n_train)
        states, logs = [], []
        for number, seed in enumerate(seeds):
            log = StepLog(self.architecture, is_kept=number < n_logged)
            states.append(self._one(everybody, seed, len(seeds), on_share, log))
            logs += [log] if log.ends else []
            if not is_finite(states[-1], self.architecture):
                raise TrainingDivergedError(
                    f"train_model({self.n_train:,} indices, seed {seed % SEEDS}) gives weights that are not finite; "
                    "lower its learning rate."
                )
        return Trained(self._ensemble(states), logs)

    def train_weighted(
        self, weights: NDArray[np.float32], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """As in `Trainer`: it cannot."""
        raise NeedNotMetError(
            "train_model(indices, seed) gives no example a weight of its own; a subject with "
            "training=TrainingSettings(...) can."
        )

    def with_labels(self, labels: Tensor) -> "LoopTrainer":
        """As in `Trainer`: it cannot."""
        raise NeedNotMetError(
            "train_model(indices, seed) reads its labels itself, so that models on other labels cannot be trained "
            "here; remove examples instead, or give the subject training=TrainingSettings(...)."
        )

    def _one(
        self, members: NDArray[np.int64], seed: int, n_models: int, on_share: OnShare, log: StepLog | None = None
    ) -> StateDict:
        state = self.train(members, seed, log)
        on_share(1 / n_models)
        return state

    def _ensemble(self, states: Sequence[StateDict]) -> Ensemble:
        return Ensemble.from_state_dicts(self.architecture, states, self.device, together=False)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators of Python, NumPy and torch begin at the seed, and are put back afterwards."""
    # The old global generator of NumPy is what many loops draw from.
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.enable_grad():
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002


@dataclass(frozen=True)
class LoopTrial:
    """What was found out."""

    seconds: float  # that training one model on half of the train examples takes
    state: StateDict  # weights of a model of the trial
    ignores_seed: bool = False  # whether two seeds gave the same model
    is_reproducible: bool = True  # whether the same indices and seed gave the same model again

    @property
    def notes(self) -> list[str]:
        """What people should know, a sentence or two each."""
        return [*([IGNORES_SEED] if self.ignores_seed else []), *([] if self.is_reproducible else [NOT_REPRODUCIBLE])]


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
            return replace(found, seconds=time.monotonic() - began, state=state)
    return _try(trainer, half, seed)


class _MayBeTooFewError(InvalidModelError):
    """Something that more examples could put right."""


def _try(trainer: LoopTrainer, n: int, seed: int) -> LoopTrial:
    members, others = _members(trainer.n_train, n, seed)
    seeds = [derive_seed(seed, "trial", number) for number in range(2)]
    log = StepLog(trainer.architecture)
    first = trainer.train(members, seeds[0], log)
    if not is_finite(first, trainer.architecture):
        raise _MayBeTooFewError(
            f"train_model({n:,} indices, seed) gives weights that are not finite; lower its learning rate."
        )
    if trainer.takes_log and not log.ends:
        raise _MayBeTooFewError(
            "train_model takes a log and keeps nothing in it; call log.keep(model, step=..., learning_rate=...) after "
            "every epoch, or leave the third argument out."
        )
    if trainer.takes_log and (len(log.ends) < LEAST_STATES or not _are_close(log.ends[-1].parameters, first)):
        raise _MayBeTooFewError(
            f"train_model keeps {len(log.ends)} states in its log, the last one after step {log.ends[-1].step}; keep "
            f"{LEAST_STATES} or more, the last one with the weights that it returns."
        )
    by_another_seed = trainer.train(members, seeds[1])
    if _are_equal(first, trainer.train(others, seeds[0])):
        raise _MayBeTooFewError(
            f"train_model gives the same model for two different subsets of {n:,} train examples: it ignores its "
            "indices, so that retraining says nothing. Train on those examples alone, as in inputs[indices]."
        )
    began = time.monotonic()  # the first trainings of a process are slow: libraries start up
    again = trainer.train(members, seeds[0])
    seconds = time.monotonic() - began
    return LoopTrial(seconds, first, _are_equal(first, by_another_seed), _are_close(first, again))


def _members(n_train: int, n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two sets of `n` examples that have none in common."""
    order = np.random.default_rng(derive_seed(seed, "trial")).permutation(n_train)
    return np.sort(order[:n]), np.sort(order[n : 2 * n])


def _are_equal(one: StateDict, other: StateDict) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def _are_close(one: StateDict, other: StateDict) -> bool:
    return all(
        bool((value - other[name].to(value.device)).abs().max() <= SAME * value.abs().max())  # logs are on the CPU
        for name, value in one.items()
        if value.is_floating_point() and value.numel()
    )
