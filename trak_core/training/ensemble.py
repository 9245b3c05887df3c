"""Many models of one architecture, held as stacked weights so that they run as one where `vmap` can do that."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import stack_module_state, vmap

from trak_core.errors import InvalidSettingError
from trak_core.inputs import count, leaves, take
from trak_core.tasks import Answer, Inputs, Task, at_weights, prepared

StateDict = dict[str, Tensor]
Asked = Literal["model_output", "model_outputs", "out_to_loss", "loss"]
NUMBERS_AT_ONCE = 2**24
"""Of inputs, each counted for every model: what layers make of them is many times as large."""
WIDTH_OF_A_TOKEN = 2048
"""Numbers that a transformer holds at once for one token, about."""


def chance_of(model: nn.Module) -> list[str]:
    """The kinds of layers by which what a model says of one example depends on chance or on other examples."""

    def has_chance(module: nn.Module) -> bool:
        if isinstance(module, nn.modules.dropout._DropoutNd):
            return module.p > 0
        if isinstance(module, nn.modules.instancenorm._InstanceNorm):
            return module.track_running_stats
        return isinstance(module, nn.modules.batchnorm._BatchNorm)

    return sorted({type(module).__name__ for module in model.modules() if has_chance(module)})


class Ensemble:
    """`n_models` models of one architecture, which run as one, or one after another."""

    def __init__(
        self, architecture: nn.Module, parameters: StateDict, buffers: StateDict | None = None, together: bool = True
    ) -> None:
        self.architecture = architecture.eval()  # supplies the forward pass; its own weights count where none are given
        self.parameters = parameters  # name to tensor `[n_models, *shape]`, float32
        self.buffers = buffers or {}  # likewise those of which each model has its own, as the statistics of BatchNorm
        self.together = together  # whether they run as one; one after another takes every architecture

    @classmethod
    def from_models(cls, models: Sequence[nn.Module], device: str) -> "Ensemble":
        """The ensemble that holds a copy of the weights of `models` on `device`.

        Raises:
            InvalidSettingError: the architecture has BatchNorm or dropout, or buffers that are not the same in all.
        """
        stacked, buffers = stack_module_state(list(models))
        # Buffers that are the same in all (places of tokens, say) are those of the architecture.
        unsupported = [name for name, value in buffers.items() if not (value == value[0]).all()]
        unsupported += chance_of(models[0])
        if unsupported:
            raise InvalidSettingError(
                f"models with {', '.join(unsupported)} cannot be trained together: their state or noise "
                "is not carried through training. Use a model without BatchNorm and dropout, or train it by a "
                "train_model of your own."
            )
        return cls(models[0].to(device), {name: value.detach().clone().to(device) for name, value in stacked.items()})

    @classmethod
    def from_state_dicts(
        cls, architecture: nn.Module, states: Sequence[StateDict], device: str, together: bool = True
    ) -> "Ensemble":
        """The ensemble of the given state dicts of `architecture` on `device`; a shared tensor has its first name."""

        def stacked(named: Iterable[tuple[str, Tensor]]) -> StateDict:
            names = [name for name, _ in named if name in states[0]]
            return {name: torch.stack([state[name] for state in states]).to(device) for name in names}

        parameters, buffers = stacked(architecture.named_parameters()), stacked(architecture.named_buffers())
        return cls(architecture.to(device), parameters, buffers, together)

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def state_dict(self, index: int) -> StateDict:
        """Parameters and buffers of one model, by name; tensors share memory with the ensemble."""
        return {name: value[index] for name, value in {**self.parameters, **self.buffers}.items()}

    def outputs(self, task: Task, inputs: Inputs) -> Tensor:
        """Outputs of every model for every input, as the task reads them: `[n_models, n, ...]`."""
        an_input = len(self) * sum(_width(leaf) for leaf in leaves(inputs))
        size = max(1, NUMBERS_AT_ONCE // an_input)
        with torch.no_grad():
            batches = (take(inputs, slice(start, start + size)) for start in range(0, count(inputs), size))
            return torch.cat([self._forward(task, batch) for batch in batches], dim=1)

    def _forward(self, task: Task, inputs: Inputs) -> Tensor:
        def forward(weights: StateDict) -> Tensor:
            return task.outputs_of(at_weights(self.architecture, weights), inputs)

        if not self.together:
            return torch.stack([forward(self.state_dict(i)) for i in range(len(self))])
        return vmap(forward)({**self.parameters, **self.buffers})

    def of_each(self, what: Asked, task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
        """What a function of the task, made ready for each model, says of its outputs and `targets`: `[n_models, ...]`.

        `outputs` are those of `outputs`, `targets` `[n, ...]` the same for all models.
        """
        with torch.no_grad():
            return torch.stack([getattr(self._prepared(task, i), what)(outputs[i], targets) for i in range(len(self))])

    def answers(self, task: Task, outputs: Tensor) -> list[Answer]:
        """The answers of each model from its outputs; empty where the task has none of its own."""
        with torch.no_grad():
            given = [self._prepared(task, i).answer(outputs[i]) for i in range(len(self))]
        return [answer for answer in given if answer is not None]

    def right(self, task: Task, outputs: Tensor, targets: Tensor) -> NDArray[np.bool_]:
        """Whether each model's answer is right, bool `[n_models, n]`; True where the task knows no right and wrong."""
        given = [task.agrees(answer, targets) for answer in self.answers(task, outputs)]
        found = [right.cpu().numpy() for right in given if right is not None]
        return np.stack(found) if found else np.ones((len(self), len(targets)), dtype=bool)

    def _prepared(self, task: Task, index: int) -> Task:
        return prepared(task, self.architecture, self.state_dict(index))


def _width(leaf: Tensor) -> int:
    """Numbers that one input takes."""
    return max(1, leaf[:1].numel()) * (1 if leaf.is_floating_point() else WIDTH_OF_A_TOKEN)


def make_models(make_model: Callable[[], nn.Module], seeds: Sequence[int]) -> list[nn.Module]:
    """One freshly initialised model a seed; torch's global random state is left as it was."""
    models = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            models.append(make_model())
    return models
