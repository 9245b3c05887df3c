"""Trains by somebody's own function, one model after another: any optimizer, augmentation, BatchNorm, dropout."""

import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from trak_core.training.ensemble import Ensemble, StateDict
from trak_core.training.states import expected_shapes, fitting_state, is_finite
from trak_core.training.step_log import StepLog
from trak_core.training.trainer import Trained
from trak_core.training.trainers import Masks, OnShare, ignore_share, removal_weights

TrainModel = Callable[..., Any]
"""`train_model(indices, seed)` or `train_model(indices, seed, log)`; gives a state dict, or the trained module.

`indices` are int64 numbers of train examples, rising; `seed` is an int from 0 to 2^31 - 1."""

SEEDS = 2**31
"""NumPy takes no larger seeds than 32 bits."""
MOST_AT_ONCE = 8
MEMORY = 2**30
"""Bytes that the models of one call may take together."""


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
    for arguments in ((None, 0, None), (None, 0)):
        try:
            bound = signature.bind(*arguments)
        except TypeError:
            continue
        if len(arguments) == 3 and "log" not in bound.arguments:
            continue  # a third argument of another meaning, which has a default
        return len(arguments) == 3
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
