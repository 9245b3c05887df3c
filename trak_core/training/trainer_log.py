"""A callback for Hugging Face's Trainer that keeps the log of a training, for methods that look at it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

from trak_core.errors import AttributionWarning, InvalidSettingError, NeedNotMetError
from trak_core.training.folder_log import LogWriter
from trak_core.training.log import N_RECORDED
from trak_core.training.names import unwrapped
from trak_core.training.step_log import MOST_STATES

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise NeedNotMetError(
        "TrainerLog is a callback of the package transformers, which is not installed; `pip install transformers`."
    ) from error

When = Literal["epoch", "save", "logging"]


class TrainerLog(TrainerCallback):
    """Keeps states along a training, for TracIn and SOURCE.

    ```python
    trainer = Trainer(model, args, train_dataset=train, callbacks=[trak_core.TrainerLog("log")])
    trainer.train()
    attributor = trak_core.Attributor(model, "causal_lm", method="source", training_logs="log")
    ```

    Each state holds the parameters that are trained, and of adapters nothing else, with its step and the mean learning
    rate of the steps before it. The last one is that at the end of training.

    Args:
        folder: that the log is written to; it holds none yet.
        keep: how many states, at the ends of equal parts of the training; or when: at the end of each "epoch", whenever
            the Trainer saves ("save") or logs ("logging").

    Raises:
        InvalidSettingError: `keep` is out of its range, or would keep more than 64 states: as training begins.
        NeedNotMetError: transformers is not installed.
    """

    def __init__(self, folder: str | Path, keep: int | When = N_RECORDED) -> None:
        if isinstance(keep, bool) or (keep not in ("epoch", "save", "logging") and not isinstance(keep, int)):
            raise InvalidSettingError(f"keep={keep!r}; give a number of states, or epoch, save or logging.")
        if isinstance(keep, int) and not 1 <= keep <= MOST_STATES:
            raise InvalidSettingError(f"keep={keep}; it must be from 1 to {MOST_STATES} states.")
        self._folder, self._keep = Path(folder), keep
        self._due: set[int] = set()
        self._rates: list[float] = []  # of the steps since the last state
        self._writer: LogWriter | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Refuses what cannot be kept, before the first step."""
        if getattr(args, "deepspeed", None) or getattr(args, "fsdp", None):
            raise InvalidSettingError(
                "TrainerLog keeps no log of a training whose parameters are spread over processes; leave out deepspeed "
                "and fsdp, or the log."
            )
        n_states = self._keep if isinstance(self._keep, int) else _n_states(self._keep, args, state)
        if n_states > MOST_STATES:
            raise InvalidSettingError(
                f"keep={self._keep!r} would keep {n_states:,} states; keep {MOST_STATES} at most, as by keep=6."
            )
        parts = range(1, n_states + 1) if isinstance(self._keep, int) else ()
        self._due = {round(part * state.max_steps / n_states) for part in parts}
        self._rates = []
        if state.is_world_process_zero:
            self._writer = LogWriter(self._folder, unwrapped(model), state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        """Notes the learning rate of the step."""
        sizes = [sum(one.numel() for one in group["params"]) for group in optimizer.param_groups]
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        self._rates.append(sum(map(float.__mul__, map(float, sizes), rates)) / max(1, sum(sizes)))
        if self._writer is not None:
            self._writer.momentum = max(float(group.get("momentum", 0.0)) for group in optimizer.param_groups)
            self._writer.weight_decay = max(float(group.get("weight_decay", 0.0)) for group in optimizer.param_groups)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Keeps the state of a step that is due, and that at the end."""
        if state.global_step in self._due or state.global_step >= state.max_steps:
            self._write(model, state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Keeps the state of an epoch."""
        if self._keep == "epoch" or control.should_training_stop:
            self._write(model, state)

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Keeps a state that the Trainer saves."""
        if self._keep == "save":
            self._write(model, state)

    def on_log(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Keeps a state whose loss the Trainer logs."""
        if self._keep == "logging":
            self._write(model, state)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Says where the last state is not that of the model."""
        if self._writer is not None and args.load_best_model_at_end and state.best_model_checkpoint:
            warnings.warn(
                f"the training log ends at step {state.global_step}, but the Trainer has put back the best model, "
                f"{state.best_model_checkpoint}; methods that look at training explain the last one.",
                AttributionWarning,
                stacklevel=2,
            )

    def _write(self, model: Any, state: Any) -> None:
        writer, step = self._writer, int(state.global_step)
        if writer is None or not self._rates or (writer.steps and step <= writer.steps[-1]):
            return
        if len(writer.steps) < MOST_STATES or step >= state.max_steps:
            writer.keep(unwrapped(model), step, sum(self._rates) / len(self._rates))
            self._rates = []


def _n_states(when: When, args: Any, state: Any) -> int:
    """How many states a training keeps, about."""
    every = {"save": (args.save_strategy, state.save_steps), "logging": (args.logging_strategy, state.logging_steps)}
    strategy, steps = every.get(when, ("epoch", 0))
    if getattr(strategy, "value", strategy) == "steps" and steps:
        return int(state.max_steps // max(1, steps))
    return int(state.num_train_epochs)
