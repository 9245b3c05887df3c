"""Many models of one architecture, held as stacked weights so that they run as one where `vmap` can do that."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from trak_core.errors import InvalidSettingError

__all__ = ["Ensemble", "chance_of", "make_models"]

StateDict = dict[str, Tensor]
NUMBERS_AT_ONCE = 2**24
"""Of inputs, each counted for every model: what layers make of them is many times as large."""
WIDTH_OF_A_TOKEN = 2048
"""Numbers that a transformer holds at once for one token, about."""


def chance_of(model: nn.Module) -> list[str]:
    """The kinds of layers by which what a model says of one example depends on chance or on other examples."""
    dropout, batch, instance = (
        nn.modules.dropout._DropoutNd,
        nn.modules.batchnorm._BatchNorm,
        nn.modules.instancenorm._InstanceNorm,
    )
    return sorted(
        {
            type(module).__name__
            for module in model.modules()
            if isinstance(module, batch)
            or (isinstance(module, dropout) and module.p > 0)
            or (isinstance(module, instance) and module.track_running_stats)
        }
    )


class Ensemble:
    """`n_models` models of one architecture.

    Attributes:
        architecture: a module that supplies the forward pass; its own weights are never used.
        parameters: name to tensor `[n_models, *shape]`, float32.
        buffers: the same for buffers of which each model has its own, such as the statistics of BatchNorm.
        together: whether they run as one; else one after another, which takes every architecture.
    """

    def __init__(
        self,
        architecture: nn.Module,
        parameters: StateDict,
        buffers: StateDict | None = None,
        together: bool = True,
    ) -> None:
        self.architecture = architecture.eval()
        self.parameters = parameters
        self.buffers = buffers or {}
        self.together = together

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

    def logits(self, inputs: Tensor) -> Tensor:
        """Outputs of every model for every input: `[n_models, n, n_outputs]`."""
        an_input = len(self) * max(1, inputs[:1].numel()) * (1 if inputs.is_floating_point() else WIDTH_OF_A_TOKEN)
        with torch.no_grad():
            batches = torch.split(inputs, max(1, NUMBERS_AT_ONCE // an_input))
            return torch.cat([self._forward(batch) for batch in batches], dim=1)

    def _forward(self, inputs: Tensor) -> Tensor:
        def forward(weights: StateDict) -> Tensor:
            return functional_call(self.architecture, weights, (inputs,))  # type: ignore[no-any-return]

        if not self.together:
            return torch.stack([forward(self.state_dict(i)) for i in range(len(self))])
        return vmap(forward)({**self.parameters, **self.buffers})


def make_models(make_model: Callable[[], nn.Module], seeds: Sequence[int]) -> list[nn.Module]:
    """One freshly initialised model a seed; torch's global random state is left as it was."""
    models = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            models.append(make_model())
    return models
