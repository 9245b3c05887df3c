"""How the outputs of a model are read, whatever form its inputs and what it returns come in."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from trak_core.errors import NoLogitsError

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""A batch as the model takes it: a tensor, positional arguments or keyword arguments, each `[n, ...]`."""
Model = Callable[..., Any]
"""Takes and returns what the forward pass of a module does, at some weights."""


def at_weights(model: nn.Module, weights: dict[str, Tensor]) -> Model:
    """The model as a function, with `weights` (parameters and buffers by name) in place of its own."""
    # A state dict has a shared tensor once for each of its names; the first name stands for all.
    names = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    held = {name: value for name, value in weights.items() if name in names}
    return lambda *args, **kwargs: functional_call(model, held, args, kwargs)


def call(model: Model, inputs: Inputs) -> Any:
    """Whatever a model returns for a batch: a dict goes in by keyword, a tuple by position."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def read_logits(model: Model, inputs: Inputs) -> Tensor:
    """What a model returns for a batch `[n, ...]`: the tensor itself, or `logits` of it, as Hugging Face has them.

    Raises:
        NoLogitsError: the model returns neither.
    """
    returned = call(model, inputs)
    outputs: Any = returned
    if not isinstance(outputs, Tensor):
        outputs = returned.get("logits") if isinstance(returned, dict) else getattr(returned, "logits", None)
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        kind = type(returned).__name__ + (f" of {returned.dtype}" if isinstance(returned, Tensor) else "")
        raise NoLogitsError(
            f"the model returns a {kind}, which has no logits. It must return a floating-point tensor [n, ...] or an "
            "object with `logits`; wrap it in a small nn.Module that returns its logits, or read another output by "
            "`outputs_of` of the task, which is outputs_function=... of a trak_core.CustomTask."
        )
    return outputs
