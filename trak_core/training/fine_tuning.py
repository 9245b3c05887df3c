"""Fine-tuning as people do it: from given weights, by AdamW with warm-up, one model after another.

Where every model of a run starts from the same pretrained weights, retrained evidence says much more than from fresh
ones: the seed decides the order of batches, dropout and what is freshly initialised, such as heads and adapters, and
nothing else. Only parameters that require gradients are trained, and only these are kept of a model; the others are
those of the architecture.

Source: AdamW: Loshchilov and Hutter 2019 (arXiv 1711.05101). Warm-up and linear decay as in Hugging Face's Trainer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trak_core.errors import InvalidSettingError, TrainingDivergedError
from trak_core.inputs import leaves, take
from trak_core.seeds import derive_seed
from trak_core.tasks import Inputs, Task
from trak_core.training.ensemble import Ensemble, StateDict, make_models
from trak_core.training.log import N_RECORDED, Moment
from trak_core.training.schedule import Rules, check_training, draw_batches
from trak_core.training.states import is_finite
from trak_core.training.step_log import StepLog
from trak_core.training.trainer import Masks, OnShare, Trained, ignore_share, removal_weights

MEMORY = 2**30
"""Bytes that the models of one call may take together."""
MOST_AT_ONCE = 8
OPTIMIZER = "AdamW"


@dataclass(frozen=True)
class FineTuning:
    """AdamW; the learning rate rises linearly while it warms up, and falls linearly to zero.

    Its length is given by `epochs`, or by `steps` with `epochs=None`, as in `TrainingSettings`.

    Raises:
        InvalidSettingError: a setting cannot be.
    """

    epochs: int | None  # passes over the members of the subset; None where `steps` says how long
    batch_size: int  # examples a step; the last, smaller batch of an epoch is skipped
    learning_rate: float  # the highest
    weight_decay: float = 0.01  # as AdamW takes it; of matrices alone, not of biases and norms
    warm_up: float = 0.1  # share of the steps
    steps: int | None = field(default=None, kw_only=True)  # of the optimizer; None where `epochs` says how long

    def __post_init__(self) -> None:
        rules: Rules = {
            "learning_rate": (lambda value: 0 < value < math.inf, "above 0"),
            "weight_decay": (lambda value: 0 <= value < math.inf, "0 or more"),
            "warm_up": (lambda value: 0 <= value < 1, "from 0 to below 1"),
        }
        check_training(self, rules)

    def facts(self) -> dict[str, Any]:
        """The settings by name, as a run keeps them, and by which optimizer."""
        return {"optimizer": OPTIMIZER, **{name: value for name, value in asdict(self).items() if value is not None}}

    @classmethod
    def from_facts(cls, kept: Mapping[str, Any]) -> FineTuning:
        """The settings exactly as they were when `facts` was asked; whatever is missing may raise anything."""
        return cls(**{"epochs": None, **{name: value for name, value in kept.items() if name != "optimizer"}})

    @staticmethod
    def are_kept_in(kept: Mapping[str, Any]) -> bool:
        """Whether these are facts of such settings, and not of `TrainingSettings`."""
        return kept.get("optimizer") == OPTIMIZER

    def n_steps(self, n_members: int) -> int:
        """Optimizer steps of a training on so many examples.

        Raises:
            InvalidSettingError: there are fewer than a batch holds.
        """
        if n_members < self.batch_size:
            raise InvalidSettingError(
                f"batch_size={self.batch_size} is larger than the subset of {n_members} examples; use a batch size of "
                f"at most {n_members}."
            )
        return self.steps or n_members // self.batch_size * (self.epochs or 0)

    def rate(self, step: int, n_steps: int) -> float:
        """The learning rate of a step, from 0."""
        rising = max(1, round(self.warm_up * n_steps))
        return self.learning_rate * min((step + 1) / rising, (n_steps - step) / max(1, n_steps - rising))


@dataclass(frozen=True)
class FineTuner:
    """A `Trainer` that fine-tunes one model after another."""

    make_model: Callable[[], nn.Module]  # gives the model to start from; what is fresh draws from torch's generator
    task: Task  # supplies the loss
    inputs: Inputs  # of the train examples `[n_train, ...]`, on the device to train on
    labels: Tensor  # of the train examples `[n_train, ...]`, on the same device
    settings: FineTuning  # of the optimizer

    @property
    def at_once(self) -> int:
        """As in `Trainer`: few, because they are trained one after another anyway."""
        size = 4 * sum(each.numel() for each in self.make_model().parameters() if each.requires_grad)
        return max(1, min(MOST_AT_ONCE, MEMORY // max(1, size)))

    @property
    def smallest_subset(self) -> int:
        """As in `Trainer`: what fills a batch."""
        return self.settings.batch_size

    @property
    def weighs_losses(self) -> bool:
        """As in `Trainer`."""
        return True

    def train_subsets(self, masks: Masks, seeds: Sequence[int], on_share: OnShare = ignore_share) -> Ensemble:
        """As in `Trainer`; subsets may be of any size."""
        members = [torch.from_numpy(np.flatnonzero(mask)) for mask in masks]
        return self._ensemble([(each, None) for each in members], seeds, on_share)

    def train_without(
        self, removed: Sequence[NDArray[np.int64]], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """As in `Trainer`: what is removed stays in its batches with weight 0, and changes nothing there."""
        return self.train_weighted(removal_weights(removed, len(self.labels)), seeds, on_share)

    def train_weighted(
        self, weights: NDArray[np.float32], seeds: Sequence[int], on_share: OnShare = ignore_share
    ) -> Ensemble:
        """As in `Trainer`."""
        rows = torch.from_numpy(weights).to(self.labels.device)
        return self._ensemble([(self._everybody, row) for row in rows], seeds, on_share)

    def train_checkpoints(self, seeds: Sequence[int], n_logged: int, on_share: OnShare = ignore_share) -> Trained:
        """As in `Trainer`; the logs are such as a loop keeps."""
        architecture, states, logs = self.make_model(), [], []
        for number, seed in enumerate(seeds):
            state, log = self.train(self._everybody, seed, is_logged=number < n_logged)
            if not is_finite(state, architecture):
                raise TrainingDivergedError(
                    f"training diverged: model {number} (seed {seed}) has weights that are not finite; lower the "
                    "learning rate."
                )
            states.append(state)
            logs += [log] if log is not None else []
            on_share(1 / len(seeds))
        return Trained(self._together(architecture, states), logs)

    def with_labels(self, labels: Tensor) -> FineTuner:
        """As in `Trainer`."""
        return replace(self, labels=labels)

    def train(
        self, members: Tensor, seed: int, weights: Tensor | None = None, is_logged: bool = False
    ) -> tuple[StateDict, StepLog | None]:
        """The trained parameters of one model, and the log of its training where one is wanted.

        Args:
            members: numbers of the train examples to train on, int64.
            seed: decides everything that is left to chance.
            weights: of the losses `[n_train]`; all 1 when None.
            is_logged: whether a log is kept.
        """
        n_steps = self.settings.n_steps(len(members))
        model = make_models(self.make_model, [seed])[0].to(self.labels.device).train()
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        optimizer = torch.optim.AdamW(_groups(trained, self.settings.weight_decay), lr=self.settings.learning_rate)
        moments = sorted({round(part * n_steps / N_RECORDED) for part in range(1, N_RECORDED + 1)})
        log, rates = StepLog(model, weight_decay=0.0) if is_logged else None, [0.0]
        device = leaves(self.inputs)[0].device
        # A large vocabulary asks for few examples whose outputs are in memory together.
        most = self.task.n_that_fit(model, self.labels[:1], self.settings.batch_size, MEMORY)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.enable_grad():
            torch.manual_seed(derive_seed(seed, "fine-tuning"))
            for step, places in enumerate(draw_batches(len(members), self.settings.batch_size, n_steps, seed), start=1):
                batch = members[places].to(device)
                rate = self.settings.rate(step - 1, n_steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad(set_to_none=True)
                for part in batch.split(most):  # type: ignore[no-untyped-call]
                    losses = self.task.loss(self.task.outputs_of(model, take(self.inputs, part)), self.labels[part])
                    summed = losses.sum() if weights is None else (losses * weights[part]).sum()
                    (summed / len(batch)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rates.append(rate)
                if log is not None and step in moments:
                    since = log.ends[-1].step if log.ends else 0
                    log.add(Moment(step, _copied(trained)), float(np.mean(rates[since + 1 :])))
        return _copied(trained), log

    @property
    def _everybody(self) -> Tensor:
        return torch.arange(len(self.labels))

    def _ensemble(
        self, of_each: Sequence[tuple[Tensor, Tensor | None]], seeds: Sequence[int], on_share: OnShare
    ) -> Ensemble:
        states = []
        for (members, weights), seed in zip(of_each, seeds, strict=True):
            states.append(self.train(members, seed, weights)[0])
            on_share(1 / len(seeds))
        return self._together(self.make_model(), states)

    def _together(self, architecture: nn.Module, states: Sequence[StateDict]) -> Ensemble:
        return Ensemble.from_state_dicts(architecture, states, str(self.labels.device), together=False)


def _groups(trained: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with weight decay and without, as AdamW takes them."""
    matrices = [value for value in trained.values() if value.dim() > 1]
    others = [value for value in trained.values() if value.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _copied(trained: dict[str, nn.Parameter]) -> StateDict:
    return {name: value.detach().clone() for name, value in trained.items()}
