"""A training log in a folder: what was trained, state by state in files of their own, read when it is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import overload

import torch
from torch import nn

from trak_core.errors import InvalidSettingError, RunMismatchError
from trak_core.store.files import replace_file, write_text
from trak_core.training.log import Moment
from trak_core.training.states import fitting_state
from trak_core.training.step_log import StepLog
from trak_core.training.trained_part import check_frozen, frozen_sha256, frozen_sha256_of, save_trained
from trak_core.training.weights import load_weights

NAME = "training_log.json"


def state_file(folder: Path, step: int) -> Path:
    """Where the state after so many steps lies."""
    return folder / f"step-{step:08d}.safetensors"


class LogWriter:
    """Writes a log as training goes on; what was written before an interruption stays.

    Args:
        folder: that the log is written to.
        model: that is trained; its frozen parameters are not written.
        resumed_at: steps that were made before; states of later ones are written anew.

    Raises:
        InvalidSettingError: there is a log already, and training begins anew.
    """

    def __init__(self, folder: Path, model: nn.Module, resumed_at: int = 0) -> None:
        self.folder, self._base = folder, frozen_sha256(model)
        self.momentum = self.weight_decay = 0.0
        self.steps: list[int] = []
        self._rates: list[float] = []
        if not (folder / NAME).exists():
            return
        if not resumed_at:
            raise InvalidSettingError(
                f"{folder} holds a training log already; give another folder, or delete it to write it anew."
            )
        found = _read(folder)
        for step, rate in zip(found.steps, found.learning_rates, strict=True):
            if step <= resumed_at:
                self.steps.append(step)
                self._rates.append(rate)

    def keep(self, model: nn.Module, step: int, learning_rate: float) -> None:
        """Writes the state after `step` steps; `learning_rate` is the mean of the steps since the last state."""
        replace_file(state_file(self.folder, step), partial(save_trained, model, sha256=self._base))
        self.steps.append(step)
        self._rates.append(learning_rate)
        kept = _Kept(self.steps, self._rates, self.momentum, self.weight_decay)
        write_text(self.folder / NAME, json.dumps(asdict(kept), indent=1))


class FolderLog:
    """A `Log` of a folder that a `LogWriter` filled.

    Args:
        folder: the log.
        model: that the training began from; supplies what was not trained.
        device: that states are read to, in float32.

    Raises:
        RunMismatchError: there is no log, or it cannot be read.
        CheckpointMismatchError: its states are not of this model.
    """

    def __init__(self, folder: Path, model: nn.Module, device: str | torch.device = "cpu") -> None:
        found = _read(folder)
        self._folder, self._model, self._device = folder, model, str(device)
        self._steps, self._rates = found.steps, found.learning_rates
        self.momentum, self.weight_decay = found.momentum, found.weight_decay
        for step in self._steps:
            if not state_file(folder, step).is_file():
                raise RunMismatchError(f"the training log {folder} lacks its state at step {step}; copy it again.")
        self._states(len(self._steps) - 1)  # a model that does not belong to it should be found now

    @property
    def ends(self) -> Sequence[Moment]:
        """As in `Log`; each state is read whenever it is asked for."""
        return _Ends(self, range(len(self._steps)))

    def time(self, start: int, stop: int) -> float:
        """As in `Log`."""
        starts = [0, *self._steps[:-1]]
        stretches = zip(starts, self._steps, self._rates, strict=True)
        return sum(rate * (step - at) for at, step, rate in stretches if start < step <= stop) / (1 - self.momentum)

    def save(self, path: Path) -> None:
        """As in `Log`."""
        StepLog(self._model, True, self.momentum, self.weight_decay, list(self.ends), list(self._rates)).save(path)

    def _states(self, index: int) -> Moment:
        step = self._steps[index]
        path = state_file(self._folder, step)
        what = f"the state at step {step} of the training log {self._folder}"
        state = load_weights(path, what)
        check_frozen(state, frozen_sha256_of(path), self._model, what)
        return Moment(step, fitting_state(state, self._model, what, self._device))


class _Ends(Sequence[Moment]):
    """States of a log; a slice is of the same kind."""

    def __init__(self, log: FolderLog, which: range) -> None:
        self._log, self._which = log, which

    def __len__(self) -> int:
        return len(self._which)

    @overload
    def __getitem__(self, place: int) -> Moment: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Moment]: ...

    def __getitem__(self, place: int | slice) -> Moment | Sequence[Moment]:
        if isinstance(place, slice):
            return _Ends(self._log, self._which[place])
        return self._log._states(self._which[place])

    def __iter__(self) -> Iterator[Moment]:
        return (self._log._states(index) for index in self._which)


@dataclass(frozen=True)
class _Kept:
    """What a log says of its states and of the optimizer."""

    steps: list[int]  # of the states, rising
    learning_rates: list[float]  # mean of the steps up to each state
    momentum: float
    weight_decay: float

    @property
    def is_sound(self) -> bool:
        """Whether it holds states, and nothing that cannot be."""
        numbers = (*self.learning_rates, self.momentum, self.weight_decay)
        return (
            0 < len(self.steps) == len(self.learning_rates)
            and all(isinstance(step, int) and step > 0 for step in self.steps)
            and self.steps == sorted(set(self.steps))
            and all(0 <= number < math.inf for number in numbers)
            and self.momentum < 1
        )


def _read(folder: Path) -> _Kept:
    path = folder / NAME
    try:
        kept = _Kept(**json.loads(path.read_text(encoding="utf-8")))
        is_sound = kept.is_sound
    except (OSError, ValueError, TypeError) as error:
        raise RunMismatchError(
            f"{folder} holds no training log ({NAME} is missing or damaged); give a folder that a TrainerLog wrote."
        ) from error
    if not is_sound:
        raise RunMismatchError(f"{path} contradicts itself, or holds no states; train again with another folder.")
    return kept
