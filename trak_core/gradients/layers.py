"""Which parameters are differentiated, and in what order: one `Layer` for each module that owns some of them.

The order of layers, and of parameters inside a layer, is the order in which random projections count parameters. It
depends on the model and the selection alone, so that every way to compute gradients gives the same features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from trak_core.errors import InvalidSettingError

__all__ = ["Layer", "LayerKind", "find_layers", "n_parameters"]

LayerKind = Literal["matrix", "table", "vector"]

MATRIX_MODULES = (nn.Linear, nn.Conv1d, nn.Conv2d)
TABLE_MODULES = (nn.Embedding,)


@dataclass(frozen=True)
class Layer:
    """The selected parameters of one module, seen as a matrix `[n_rows, n_columns]`.

    Attributes:
        name: of the module; empty for the model itself.
        kind: "matrix" for Linear and Conv (a row is an output, the bias is the last column), "table" for Embedding
            (a row is an entry), "vector" for everything else (one column).
        parameters: full names of the parameters, weight before bias.
        n_rows: rows of the matrix.
        n_columns: columns of the matrix.
        start: number of parameters in the layers before this one.
    """

    name: str
    kind: LayerKind
    parameters: tuple[str, ...]
    n_rows: int
    n_columns: int
    start: int

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.n_rows * self.n_columns

    @property
    def leaves(self) -> tuple[str, ...]:
        """Names of the parameters inside their module."""
        return tuple(name.rpartition(".")[2] for name in self.parameters)

    @property
    def has_bias(self) -> bool:
        """True when the bias is among the parameters."""
        return "bias" in self.leaves

    @property
    def has_weight(self) -> bool:
        """True when the weight is among the parameters."""
        return "weight" in self.leaves


def find_layers(model: nn.Module, patterns: str | Sequence[str] | None = None) -> list[Layer]:
    """The layers of a model that own parameters whose names match.

    Args:
        model: any module.
        patterns: shell patterns of parameter names, such as "fc*" or ["encoder.*", "head.weight"]; None selects all.

    Raises:
        InvalidSettingError: a pattern matches no parameter, or the model has none.
    """
    wanted = _matching([name for name, _ in model.named_parameters()], patterns)
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
        n_rows, n_columns = size, 1
        if isinstance(module, MATRIX_MODULES) and leaves <= {"weight", "bias"}:
            kind = "matrix"
            n_rows = int(module.weight.shape[0])
            n_columns = size // n_rows
        elif isinstance(module, TABLE_MODULES) and leaves == {"weight"}:
            kind = "table"
            n_rows, n_columns = (int(length) for length in module.weight.shape)
        names = tuple(sorted(owned, key=lambda name: not name.endswith("weight")))
        layers.append(Layer(module_name, kind, names, n_rows, n_columns, start))
        start += size
    return layers


def n_parameters(layers: Sequence[Layer]) -> int:
    """Number of parameters over all layers."""
    return sum(layer.size for layer in layers)


def _matching(names: list[str], patterns: str | Sequence[str] | None) -> set[str]:
    if not names:
        raise InvalidSettingError("the model has no parameters, so there are no gradients to attribute with.")
    if patterns is None:
        return set(names)
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
