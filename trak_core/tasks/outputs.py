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
    """The model as a function, with `weights` (parameters and buffers by name) in place of its own.

    What they leave out, such as the frozen base of an adapter, is the model's own.
    """
    held = held_by(model, weights)
    return lambda *args, **kwargs: functional_call(model, held, args, kwargs)


def held_by(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a model holds at some weights: its parameters by their first names, and the buffers that are given.

    A state dict may have a shared tensor under any of its names. Parameters that are left out are the model's own,
    detached, on the device and of the type of the others.
    """
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    held = {name: weights[name] for name in names if name in weights}
    left_out = {id(own): (name, own) for name, own in model.named_parameters() if name not in held}
    if left_out:
        like = next((value for value in weights.values() if value.is_floating_point()), None)
        for other, own in model.named_parameters(remove_duplicate=False):
            if id(own) in left_out and other in weights:
                held[left_out.pop(id(own))[0]] = weights[other]
        for name, own in left_out.values():
            fixed = own.detach()
            held[name] = (
                fixed if like is None else fixed.to(like.device, like.dtype if fixed.is_floating_point() else None)
            )
    return held


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
