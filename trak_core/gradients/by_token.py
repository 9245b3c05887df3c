"""How much each token of an example carries of the inner product of its gradient with a direction of parameters.

The gradient of an example is a sum over the runs of its layers, and the part of a run falls apart by the positions of
its output: `<grad f, v> = sum over layers, positions of delta . dy`, with `delta` the gradient of f at the layer's
output there, and `dy` the change of that output when the layer's own parameters move along v and its inputs stay. What
a parameter contributes thus belongs to the output position of the module that used it:

| parameters | belong to |
| --- | --- |
| Linear, Conv1D, norms, adapters, the magnitude of DoRA | the position that the layer computed |
| token embeddings, and a head that shares their table | the token looked up; the position whose logits were computed |
| position embeddings | the position |
| relative attention, one bias a pair of positions | the position that attends |
| a layer on what was pooled from all tokens, or on no positions at all | all tokens of the example alike |

Positions are those of what a model reads. At a position a causal model reads one token and tells the next; a decoder
reads the target text shifted by one, and tells at each position the label of the same place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp

from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.gradients.directional import forward_derivatives
from trak_core.gradients.forward import StateDict
from trak_core.gradients.hooks import HookedModules, Runs
from trak_core.gradients.layers import Layer, is_transposed, n_parameters
from trak_core.gradients.module_gradients import CHANNELS_FIRST, CONVOLUTIONS, NORMS, ModuleRun, has_formula, normalized
from trak_core.gradients.shared_layers import is_of_decoder
from trak_core.inputs import count
from trak_core.tasks import Inputs

Direction = Tensor | Mapping[str, Tensor]
"""A direction of parameters: numbers in the order in which projections count them `[n_parameters]`, or by name."""


@dataclass(frozen=True)
class TokenContributions:
    """The parts that the tokens of n examples have in inner products with a direction."""

    inputs: Tensor  # of the tokens that the model, or its encoder, reads `[n, length]`
    decoder: Tensor | None  # of those that its decoder reads `[n, decoder_length]`; None where there is none
    # what belongs to no single position `[n]`: it is spread over the tokens of the example, and contained in the others
    spread: Tensor

    @property
    def total(self) -> Tensor:
        """The inner products `[n]`."""
        total = self.inputs.sum(1)
        return total if self.decoder is None else total + self.decoder.sum(1)


def by_name(direction: Direction, layers: list[Layer], weights: StateDict) -> StateDict:
    """A direction as one tensor for each selected parameter, in its shape; parameters that are not named stay.

    Raises:
        InvalidSettingError: it is of another length or shape, or names what is not selected.
    """
    selected = [name for layer in layers for name in layer.parameters]
    like = weights[selected[0]]
    if isinstance(direction, Tensor):
        if direction.shape != (n_parameters(layers),):
            raise InvalidSettingError(
                f"direction has shape {tuple(direction.shape)}; it must be ({n_parameters(layers)},), a number for "
                "each selected parameter, as direction() of a feature map gives it."
            )
        parts: StateDict = {}
        for layer in layers:
            row = direction[None, layer.start : layer.start + layer.size].to(like)
            parts |= {name: part[0] for name, part in layer.unflatten(row, weights).items()}
        return parts
    for name, part in direction.items():
        if name not in selected or part.shape != weights[name].shape:
            wanted = f"of shape {tuple(weights[name].shape)}" if name in selected else f"one of {selected[:5]}, ..."
            raise InvalidSettingError(
                f"direction[{name!r}] has shape {tuple(part.shape)}; it must be {wanted}: a selected parameter."
            )
    return {
        name: direction[name].to(like) if name in direction else torch.zeros_like(weights[name]) for name in selected
    }


def token_contributions(
    runs: Runs, hooked: HookedModules, direction: StateDict, inputs: Inputs, frozen: StateDict
) -> TokenContributions:
    """The contributions of one batch, from the runs of its layers; the model holds the weights `frozen`.

    `direction` has the part of each selected parameter by its first name.
    """
    n, sides = count(inputs), {side: _tokens(inputs, side) for side in (False, True)}
    like = next(iter(direction.values()))
    placed = {side: like.new_zeros(tokens.shape) for side, tokens in sides.items() if tokens is not None}
    spread = {side: like.new_zeros(n) for side in placed}
    for name, uses in hooked.by_module().items():
        module = hooked.modules[name]
        chosen = {leaf: direction[first] for leaf, first in uses.items()}
        for run in runs.get(name, ()):
            side = run.of_decoder and True in placed
            with torch.no_grad(), torch.autocast(like.device.type, enabled=False):
                carried = run.delta * _response(module, run, chosen, name, frozen)
            by_position = _by_position(carried, module, n, placed[side].shape[1])
            if by_position is None:
                spread[side] += carried.reshape(n, -1).sum(1)
            else:
                placed[side] += by_position
    for side, rest in spread.items():
        tokens = sides[side]
        assert tokens is not None
        placed[side] += rest[:, None] * tokens / tokens.sum(1, keepdim=True)
    has_decoder = True in placed and any(run.of_decoder for of_module in runs.values() for run in of_module)
    return TokenContributions(
        placed[False], placed[True] if has_decoder else None, sum(spread.values(), like.new_zeros(n))
    )


def _tokens(inputs: Inputs, of_decoder: bool) -> Tensor | None:
    """Which positions hold a token `[n, length]`, as 0 and 1, of what the encoder or the decoder reads.

    Raises:
        InvalidDataError: the inputs have no positions.
    """
    named: Mapping[str, Any] = inputs if isinstance(inputs, dict) else {"input_ids": inputs}
    if of_decoder:
        ids = named.get("decoder_input_ids", named.get("labels"))
        mask = named.get("decoder_attention_mask")
        if mask is None and "labels" in named:
            mask = named["labels"] >= 0
    else:
        parts = (part for name, part in named.items() if not is_of_decoder(name))
        ids = named.get("input_ids", next(parts, None))
        mask = named.get("attention_mask")
    ids = ids[0] if isinstance(ids, tuple) else ids
    if not isinstance(ids, Tensor) or ids.dim() < 2:
        if of_decoder:
            return None
        raise InvalidDataError(
            "contributions of tokens need inputs with positions: token ids [n, length], or a dict with input_ids."
        )
    tokens = torch.ones(ids.shape[:2], device=ids.device)
    if isinstance(mask, Tensor) and mask.shape == tokens.shape:
        tokens = (mask != 0).to(tokens)
    # An example of padding alone has nothing to spread; what there is goes to all positions.
    return torch.where(tokens.any(1, keepdim=True), tokens, 1.0)


def _by_position(carried: Tensor, module: nn.Module, n: int, length: int) -> Tensor | None:
    """What each position carries `[n, length]`; None where no dimension of the output has so many positions."""
    per_example = len(carried) // n
    split = carried.reshape(n, per_example, *carried.shape[1:])
    if per_example == length:
        return split.flatten(2).sum(2)
    # The last dimension is that of features, and the second where channels come first.
    first, last = (3, split.dim()) if isinstance(module, CONVOLUTIONS + CHANNELS_FIRST) else (2, split.dim() - 1)
    at = next((dim for dim in range(first, last) if split.shape[dim] == length), None)
    return None if at is None else split.movedim(at, 1).flatten(2).sum(2)


def _response(module: nn.Module, run: ModuleRun, direction: StateDict, name: str, frozen: StateDict) -> Tensor:
    """The change of a module's output when its parameters move along a direction, by leaf, and its inputs stay."""
    if not has_formula(module, tuple(direction)):
        return _forward_derivative(module, run, direction, name, frozen)
    # Layers with a formula are linear in weight and bias together.
    dtype = run.delta.dtype
    inputs, weight, bias = run.arguments[0], direction.get("weight"), direction.get("bias")
    if isinstance(module, nn.Embedding):
        assert weight is not None
        found = F.embedding(inputs, weight)
        return found if module.padding_idx is None else found * (inputs != module.padding_idx)[..., None]
    inputs = inputs.to(dtype)
    if isinstance(module, NORMS):
        inputs = normalized(module, name, inputs)
        weight, bias = (_by_channel(each, module, inputs.dim()) for each in (weight, bias))
        scaled = inputs.new_zeros(()) if weight is None else inputs * weight
        return scaled if bias is None else scaled + bias
    if weight is None:
        assert bias is not None
        return bias.reshape(-1, *[1] * len(module.kernel_size)) if isinstance(module, CONVOLUTIONS) else bias
    if isinstance(module, CONVOLUTIONS):
        return cast(Tensor, module._conv_forward(inputs, weight, bias))
    return F.linear(inputs, weight.T if is_transposed(module) else weight, bias)


def _by_channel(values: Tensor | None, module: nn.Module, n_dims: int) -> Tensor | None:
    """Weight or bias of a norm in a shape that fits its input."""
    first = values is not None and isinstance(module, CHANNELS_FIRST)
    return values.reshape(-1, *[1] * (n_dims - 2)) if first and values is not None else values


def _forward_derivative(
    module: nn.Module, run: ModuleRun, direction: StateDict, name: str, frozen: StateDict
) -> Tensor:
    """The same for a module of any kind, which runs once more."""
    n_args = len(run.arguments) - len(run.keywords)
    given = [each.to(run.delta.dtype) if _is_float(each) else each for each in run.arguments]
    args, kwargs = tuple(given[:n_args]), dict(zip(run.keywords, given[n_args:], strict=True))
    prefix = f"{name}." if name else ""
    held = {leaf: frozen[f"{prefix}{leaf}"] for leaf in direction}

    def function(leaves: StateDict) -> Tensor:
        output: Tensor = functional_call(module, leaves, args, kwargs)
        return output

    with forward_derivatives("contributions of tokens"):
        derivative: Tensor = jvp(function, (held,), (direction,))[1]
    return derivative.to(run.delta.dtype)


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
