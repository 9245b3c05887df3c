"""Which parameters are differentiated, and in what order: one `Layer` for each module that owns some of them.

The order of layers, and of parameters inside a layer, is the order in which random projections count parameters. It
depends on the model and the selection alone, so that every way to compute gradients gives the same features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from trak_core.errors import InvalidSettingError

LayerKind = Literal["matrix", "table", "vector"]


@dataclass(frozen=True)
class Layer:
    """The selected parameters of one module, seen as a matrix `[n_rows, n_columns]`."""

    name: str  # of the module; empty for the model itself
    # "matrix" for Linear and Conv (a row is an output, the bias is the last column) and for an Embedding that shares
    # its weight with one of them, "table" for any other Embedding (a row is an entry), "vector" for everything else
    # (one column)
    kind: LayerKind
    parameters: tuple[str, ...]  # full names of the parameters, weight before bias
    n_rows: int  # rows of the matrix
    n_columns: int  # columns of the matrix
    start: int  # number of parameters in the layers before this one
    # True where the module keeps its weight as `[n_inputs, n_rows]`, as `Conv1D` of Hugging Face does
    transposed: bool = False

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.n_rows * self.n_columns

    @property
    def leaves(self) -> tuple[str, ...]:
        """Names of the parameters inside their module."""
        return tuple(name.removeprefix(f"{self.name}.") for name in self.parameters)

    @property
    def has_bias(self) -> bool:
        """True when the bias is among the parameters."""
        return "bias" in self.leaves

    @property
    def has_weight(self) -> bool:
        """True when the weight is among the parameters."""
        return "weight" in self.leaves

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Rows `[n, size]` of tensors by parameter name, each `[n, *shape of the parameter]`."""
        parts = [tensors[name] for name in self.parameters]
        if self.transposed:
            parts = [part.transpose(1, 2) if part.dim() == 3 else part for part in parts]
        return torch.cat([part.reshape(len(part), self._height, -1) for part in parts], dim=2).flatten(1)

    def unflatten(self, rows: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `flatten`: `[n, *shape]` by name, with the shapes of the parameters `like`."""
        matrix = rows.reshape(len(rows), self._height, -1)
        columns = [like[name].numel() // self._height for name in self.parameters]
        tensors: dict[str, Tensor] = {}
        for name, part in zip(self.parameters, torch.split(matrix, columns, dim=2), strict=True):
            turned = self.transposed and like[name].dim() == 2
            tensors[name] = (part.transpose(1, 2) if turned else part).reshape(len(rows), *like[name].shape)
        return tensors

    @property
    def _height(self) -> int:
        """Rows that all parameters of the layer have in common; elsewhere one parameter comes after another."""
        return self.n_rows if self.kind == "matrix" else 1


def is_transposed(module: nn.Module) -> bool:
    """True for a Linear layer with its weight as `[in, out]`: `transformers.pytorch_utils.Conv1D` and copies of it.

    It goes by class name and shapes, because transformers need not be installed, and a copy lies elsewhere. Hooks are
    compared with plain autograd whatever a module is called, and other ways only take another order from this.
    """
    own = dict(module.named_parameters(recurse=False))
    weight, bias = own.get("weight"), own.get("bias")
    return (
        any(each.__name__ == "Conv1D" for each in type(module).__mro__)
        and weight is not None
        and weight.dim() == 2
        and (bias is None or bias.shape == weight.shape[1:])
    )


def is_linear(module: nn.Module) -> bool:
    """True for a layer that multiplies what enters it with its weight: Linear, Hugging Face's Conv1D."""
    return isinstance(module, nn.Linear) or is_transposed(module)


def is_matrix(module: nn.Module) -> bool:
    """True for a module that multiplies its inputs with its weight: Linear, Conv1d, Conv2d, Hugging Face's Conv1D."""
    return isinstance(module, nn.Conv1d | nn.Conv2d) or is_linear(module)


def find_layers(model: nn.Module, patterns: str | Sequence[str] | None = None) -> list[Layer]:
    """The layers of a model that own the parameters to differentiate.

    A shared parameter belongs to the first module that owns it.

    Args:
        model: any module.
        patterns: shell patterns of parameter names, such as "fc*" or ["encoder.*", "head.weight"]. None selects all
            parameters that require gradients, or all where none does: such a model says nothing of what was trained.

    Raises:
        InvalidSettingError: a pattern matches no parameter, the model has none, or it is an adapter that is frozen too.
    """
    wanted = _matching(model, patterns)
    # A parametrized layer has no weight of its own: it is computed from others when the layer runs.
    multiplied = {id(module._parameters.get("weight")) for module in model.modules() if is_matrix(module)}
    layers: list[Layer] = []
    start = 0
    seen: set[int] = set()
    for module_name, module in model.named_modules():
        owned = {}
        for leaf, parameter in module.named_parameters(recurse=False):
            name = f"{module_name}.{leaf}" if module_name else leaf
            if name in wanted and id(parameter) not in seen:
                owned[name] = parameter
                seen.add(id(parameter))
        if not owned:
            continue
        leaves = {name.rpartition(".")[2] for name in owned}
        size = sum(parameter.numel() for parameter in owned.values())
        kind: LayerKind = "vector"
        n_rows, transposed = size, False
        if is_matrix(module) and leaves <= {"weight", "bias"}:
            kind, transposed = "matrix", is_transposed(module)
            n_rows = int(module.weight.shape[1 if transposed else 0])
        elif isinstance(module, nn.Embedding) and leaves == {"weight"}:
            # A head that shares the table gives every row of it a gradient.
            kind = "matrix" if id(module.weight) in multiplied else "table"
            n_rows = int(module.weight.shape[0])
        names = tuple(sorted(owned, key=lambda name: not name.endswith("weight")))
        layers.append(Layer(module_name, kind, names, n_rows, size // n_rows, start, transposed))
        start += size
    return layers


def n_parameters(layers: Sequence[Layer]) -> int:
    """Number of parameters over all layers."""
    return sum(layer.size for layer in layers)


def _matching(model: nn.Module, patterns: str | Sequence[str] | None) -> set[str]:
    parameters = dict(model.named_parameters())
    names = list(parameters)
    if not names:
        raise InvalidSettingError("the model has no parameters, so there are no gradients to attribute with.")
    if patterns is None:
        trained = {name for name in names if parameters[name].requires_grad}
        if not trained and hasattr(model, "peft_config"):
            raise InvalidSettingError(
                "all parameters of the adapter are frozen, as peft loads them for inference, so nothing says which "
                "were trained; load it by PeftModel.from_pretrained(base, folder, is_trainable=True), or give "
                "parameters='*lora_*'."
            )
        return trained or set(names)
    if not patterns:
        raise InvalidSettingError("parameters=[] selects nothing; leave it out to select all.")
    chosen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        hits = {name for name in names if fnmatchcase(name, pattern)}
        if not hits:
            shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise InvalidSettingError(
                f"parameters={pattern!r} matches none of the {len(names)} parameters ({shown}); give a shell pattern "
                "of parameter names, for example 'fc*'."
            )
        chosen |= hits
    return chosen
