"""Runs a model on a batch with given weights, whatever shape its inputs and outputs come in."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from trak_core.errors import InvalidModelError, NoLogitsError
from trak_core.inputs import count, take
from trak_core.tasks import Inputs, Model, Task, call, held_by, read_logits

StateDict = dict[str, Tensor]
OutputsOf = Callable[[Model, Inputs], Tensor]
"""Reads the outputs `[n, ...]` of a model for a batch, as `outputs_of` of a task does."""
Result = TypeVar("Result")
REPRESENTED = 2048
"""The most inputs whose representations are taken at once."""
RETURNED_BYTES = 2**27
"""The most that a model may return for them; a language model returns a number for every word at every token."""


def read_outputs(model: Model, inputs: Inputs, outputs_of: OutputsOf, dtype: torch.dtype) -> Tensor:
    """The outputs of a model in the given type, also where it runs in half precision.

    Raises:
        NoLogitsError: `outputs_of` gives anything but a floating-point tensor.
    """
    outputs = outputs_of(model, inputs)
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        kind = type(outputs).__name__ + (f" of {outputs.dtype}" if isinstance(outputs, Tensor) else "")
        raise NoLogitsError(
            f"the task reads a {kind} from the model; its outputs_of must give a floating-point tensor [n, ...], a row "
            "for each example."
        )
    return outputs.to(dtype)


def run_model(model: nn.Module, weights: StateDict, inputs: Inputs, outputs_of: OutputsOf = read_logits) -> Tensor:
    """The outputs of a model for a batch `[n, ...]`, with `weights` in place of its own and in their type.

    Raises:
        NoLogitsError: the model returns nothing that `outputs_of` can read.
    """
    return with_weights(model, weights, lambda: read_outputs(model, inputs, outputs_of, dtype_of(weights)))


def with_weights(model: nn.Module, weights: StateDict, work: Callable[[], Result]) -> Result:
    """What `work` gives while the model holds `weights` (parameters and buffers by name) in place of its own.

    What they leave out, such as the frozen base of an adapter, is the model's own.
    A backward pass belongs into the work too: activation checkpointing runs the model once more in it.
    """
    held = {f"model.{name}": value for name, value in held_by(model, weights).items()}
    return cast(Result, functional_call(_Holder(model), held, (work,)))


def representations(model: nn.Module, weights: StateDict, inputs: Inputs, task: Task | None = None) -> Tensor:
    """What enters the last Linear layer that runs `[n, n_features]`, detached; or the last layer of any kind.

    Where the layer runs at the places that the task tells, such as the tokens of a text, it is the mean over those that
    hold something: padding changes nothing, and texts of any length have rows of one length.

    Raises:
        InvalidModelError: no layer with parameters is given a row for each example.
    """
    # A Linear layer may have no parameters of its own: its weight may be computed from others when it runs.
    layers = [each for each in model.modules() if isinstance(each, nn.Linear) or _has_own(each)]
    last: dict[bool, Tensor] = {}  # by whether the layer is a Linear one
    seen: list[Tensor] = []
    n_running = 0

    def run() -> None:
        nonlocal n_running
        ask = call if task is None else task.outputs_of
        size = _at_once(model, inputs, ask)
        for start in range(0, count(inputs), size):
            last.clear()
            batch = take(inputs, slice(start, start + size))
            n_running = count(batch)
            ask(model, batch)
            if (entered := last.get(True, last.get(False))) is None:
                raise InvalidModelError(
                    "no layer of the model is given a tensor with a row for each example, so that there are no "
                    "representations of them; put a torch.nn.Linear layer at its end."
                )
            places = None if task is None else task.places(batch)
            seen.append(_one_row_each(entered, places).to(dtype_of(weights)))

    def note(layer: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor) and given[0].dim() and len(given[0]) == n_running:
            last[isinstance(layer, nn.Linear)] = given[0]

    with ExitStack() as hooks, torch.no_grad():
        for layer in layers:
            hooks.enter_context(layer.register_forward_pre_hook(note))
        with_weights(model, weights, run)
    return torch.cat(seen)


def _at_once(model: nn.Module, inputs: Inputs, ask: Callable[[Model, Inputs], Any]) -> int:
    """How many inputs are run at once, by the size of what the model returns for one of them."""
    n_bytes = 0

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal n_bytes
        returned = model(*args, **kwargs)
        n_bytes += sum(each.nbytes for each in tree_leaves(returned) if isinstance(each, Tensor))
        return returned

    ask(counting, take(inputs, slice(0, 1)))
    return max(1, min(REPRESENTED, RETURNED_BYTES // max(1, n_bytes)))


def _one_row_each(entered: Tensor, places: Tensor | None) -> Tensor:
    """Rows `[n, n_features]` of what entered a layer `[n, ...]`: the mean over the places `[n, length]` that it had."""
    if places is None or entered.dim() != 3 or entered.shape[:2] != places.shape:
        return entered.flatten(1)
    held = places.to(entered)[..., None]
    return (entered * held).sum(1) / held.sum(1).clamp_min(1)


def _has_own(module: nn.Module) -> bool:
    """Whether a module has parameters besides those of its parts."""
    return next(module.parameters(recurse=False), None) is not None


class _Holder(nn.Module):
    """A model with work to do in the place of its forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], Result]) -> Result:
        return work()


def dtype_of(weights: StateDict) -> torch.dtype:
    """The type of the floating-point weights."""
    return next(value.dtype for value in weights.values() if value.is_floating_point())
