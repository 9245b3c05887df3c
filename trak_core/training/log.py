"""What a training run leaves behind for methods that look at training itself (TracIn, SOURCE, MAGIC).

Batches and learning rates follow from the seed and are not stored. The weights and the state of the optimizer are, at
some steps along the way: from each of them the run can be replayed up to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trak_core.errors import RunMismatchError
from trak_core.training.schedule import Schedule

StateDict = dict[str, Tensor]
N_RECORDED = 6


def recorded_steps(schedule: Schedule, n: int = N_RECORDED) -> list[int]:
    """Numbers of steps before which the state is recorded: the start, and the ends of `n` equal parts of the run."""
    return sorted({round(part * schedule.n_steps / n) for part in range(n + 1)})


@dataclass(frozen=True)
class Moment:
    """The state of one model before a step."""

    step: int  # number of the step, from 0; `n_steps` after the last
    parameters: StateDict  # by name
    # momentum of the optimizer, by name; empty where nobody kept it
    velocities: StateDict = field(default_factory=dict)


class Log(Protocol):
    """What methods need to know of a training, whoever led it."""

    @property
    def ends(self) -> Sequence[Moment]:
        """States along the way in order, the last at the end of training; not the start, which has learnt nothing."""

    @property
    def weight_decay(self) -> float:
        """Of the optimizer."""

    def time(self, start: int, stop: int) -> float:
        """Sum of the learning rates of the steps from `start` on, before `stop`, in steps that momentum has made full.

        Both are numbers of steps before which a state was recorded, or 0.
        """

    def save(self, path: Path) -> None:
        """Writes the log as one safetensors file."""


@dataclass
class TrainingLog:
    """The training of one checkpoint on all train examples."""

    seed: int  # decides the initial weights and the order of batches
    schedule: Schedule  # learning rates and batches
    # recorded states, in order; the first is the start of training and the last its end
    moments: list[Moment] = field(default_factory=list)

    def batches(self) -> Tensor:
        """Numbers of train examples `[n_steps, batch_size]`."""
        return self.schedule.batches(self.seed)

    @property
    def ends(self) -> Sequence[Moment]:
        """As in `Log`."""
        return self.moments[1:]

    @property
    def weight_decay(self) -> float:
        """As in `Log`."""
        return self.schedule.settings.weight_decay

    def time(self, start: int, stop: int) -> float:
        """As in `Log`."""
        rates = sum(self.schedule.learning_rate(step) for step in range(start, stop))
        return rates / (1 - self.schedule.settings.momentum)

    def save(self, path: Path) -> None:
        """As in `Log`."""
        tensors = {}
        for moment in self.moments:
            for kind, state in (("parameters", moment.parameters), ("velocities", moment.velocities)):
                for name, value in state.items():
                    tensors[f"{moment.step}/{kind}/{name}"] = value.detach().cpu().clone().contiguous()
        save_file(tensors, path)

    @classmethod
    def load(cls, path: Path, seed: int, schedule: Schedule, device: str | torch.device = "cpu") -> "TrainingLog":
        """The log that was saved to a file.

        Raises:
            RunMismatchError: the file is missing, or its states are not those of this schedule.
        """
        if not path.exists():
            raise RunMismatchError(f"the training log {path} is missing; build the run again to train it anew.")
        moments: dict[int, Moment] = {}
        for key, value in load_file(path, device=str(device)).items():
            step, kind, name = key.split("/", 2)
            moment = moments.setdefault(int(step), Moment(int(step), {}, {}))
            getattr(moment, kind)[name] = value
        if sorted(moments) != recorded_steps(schedule):
            raise RunMismatchError(
                f"the training log {path} has states before steps {sorted(moments)}, but these settings record "
                f"{recorded_steps(schedule)}; build the run again."
            )
        return cls(seed, schedule, [moments[step] for step in sorted(moments)])

    @classmethod
    def of_each(cls, seeds: Sequence[int], schedule: Schedule, stacked: Sequence[Moment]) -> list["TrainingLog"]:
        """One log a model, from moments whose tensors are stacked over models."""

        def of_model(moment: Moment, index: int) -> Moment:
            states = (moment.parameters, moment.velocities)
            return Moment(moment.step, *({name: value[index] for name, value in state.items()} for state in states))

        return [cls(seed, schedule, [of_model(each, index) for each in stacked]) for index, seed in enumerate(seeds)]
