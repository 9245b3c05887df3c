"""The log that somebody's own training loop keeps of itself, for methods that look at training (TracIn, SOURCE)."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from trak_core.errors import InvalidSettingError, RunMismatchError
from trak_core.training.log import Moment
from trak_core.training.states import fitting_state

MOST_STATES = 64
_METADATA = "steps"


@dataclass
class StepLog:
    """States along the way of one training, and the learning rates of its steps.

    `train_model(indices, seed, log)` is handed one. At the end of every epoch, say, it calls

    ```python
    log.keep(model, step=n_steps_so_far, learning_rate=0.01)
    ```

    and, where the optimizer has them, once `log.optimizer(momentum=0.9, weight_decay=5e-4)`.
    """

    architecture: nn.Module  # that the states have to fit
    is_kept: bool = True  # False where nobody will read the log; nothing is kept then
    momentum: float = 0.0  # of the optimizer
    weight_decay: float = 0.0  # likewise
    _ends: list[Moment] = field(default_factory=list)
    _rates: list[float] = field(default_factory=list)

    def optimizer(self, *, momentum: float = 0.0, weight_decay: float = 0.0) -> None:
        """Says what the optimizer adds to plain gradient steps.

        Args:
            momentum: heavy-ball coefficient, from 0 to below 1; 0 for Adam, whose steps have full length by themselves.
            weight_decay: added to the gradient as `weight_decay * parameter`.

        Raises:
            InvalidSettingError: a value is out of its range.
        """
        if not 0 <= momentum < 1:
            raise InvalidSettingError(f"log.optimizer(momentum={momentum!r}); it must be from 0 to below 1.")
        if not 0 <= weight_decay < math.inf:
            raise InvalidSettingError(f"log.optimizer(weight_decay={weight_decay!r}); it must be 0 or more.")
        self.momentum, self.weight_decay = float(momentum), float(weight_decay)

    def keep(self, state: Any, *, step: int, learning_rate: float) -> None:
        """Keeps a copy of the state after `step` steps; keep the one at the end too.

        Args:
            state: a state dict, or the model.
            step: steps of the optimizer so far; more than at the last call.
            learning_rate: mean of the steps since the last call.

        Raises:
            InvalidSettingError: a value is out of its range, or too many states are kept.
            InvalidModelError, CheckpointMismatchError: the state is none of the architecture.
        """
        last = self._ends[-1].step if self._ends else 0
        if isinstance(step, bool) or int(step) != step or step < 0 or (self._ends and step <= last):
            raise InvalidSettingError(
                f"log.keep(step={step!r}) after {last}; give the number of steps so far, more than the last time."
            )
        if not 0 <= learning_rate < math.inf:
            raise InvalidSettingError(f"log.keep(learning_rate={learning_rate!r}); it must be finite and 0 or more.")
        if step == 0 or not self.is_kept:
            return  # at the start nothing is learnt
        if len(self._ends) == MOST_STATES:
            raise InvalidSettingError(f"log.keep keeps {MOST_STATES} states at most; keep one every so many epochs.")
        self._ends.append(Moment(int(step), fitting_state(state, self.architecture, f"log.keep(step={step})")))
        self._rates.append(float(learning_rate))

    def add(self, moment: Moment, learning_rate: float) -> None:
        """Adds a state of the trained parameters alone, as `keep` does; for trainers of this program."""
        self._ends.append(moment)
        self._rates.append(learning_rate)

    @property
    def ends(self) -> Sequence[Moment]:
        """As in `Log`."""
        return self._ends

    def time(self, start: int, stop: int) -> float:
        """As in `Log`."""
        starts = [0, *(moment.step for moment in self._ends[:-1])]
        stretches = zip(starts, self._ends, self._rates, strict=True)
        rates = sum(rate * (moment.step - before) for before, moment, rate in stretches if start < moment.step <= stop)
        return rates / (1 - self.momentum)

    def save(self, path: Path) -> None:
        """As in `Log`."""
        tensors = {
            f"{moment.step}/parameters/{name}": value.detach().cpu().contiguous()
            for moment in self._ends
            for name, value in moment.parameters.items()
        }
        optimizer = {"momentum": self.momentum, "weight_decay": self.weight_decay}
        metadata = {"steps": [moment.step for moment in self._ends], "learning_rates": self._rates, **optimizer}
        save_file(tensors, path, metadata={_METADATA: json.dumps(metadata)})

    @classmethod
    def load(cls, path: Path, architecture: nn.Module, device: str | torch.device = "cpu") -> "StepLog":
        """The log that was saved to a file.

        Raises:
            RunMismatchError: the file is missing, or no such log.
        """
        if not path.exists():
            raise RunMismatchError(f"the training log {path} is missing; build the run again to train it anew.")
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                metadata = json.loads((file.metadata() or {})[_METADATA])
                states: dict[int, dict[str, torch.Tensor]] = {int(step): {} for step in metadata["steps"]}
                for key in file.keys():
                    step, _, name = key.split("/", 2)
                    states[int(step)][name] = file.get_tensor(key)
        except (KeyError, ValueError) as error:
            raise RunMismatchError(f"{path} is no training log of a loop; build the run again.") from error
        ends = [Moment(step, state) for step, state in states.items()]
        rates = [float(rate) for rate in metadata["learning_rates"]]
        return cls(architecture, True, float(metadata["momentum"]), float(metadata["weight_decay"]), ends, rates)
