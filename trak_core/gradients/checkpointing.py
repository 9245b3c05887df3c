"""Refuses models that hide weights from autograd, above all by re-entrant activation checkpointing.

`torch.utils.checkpoint` with `use_reentrant=True`, and what libraries made after it, is an autograd Function: it runs a
part of the model without a graph, and once more in `backward()`, where gradients go straight to the weights. Asked for
the gradient with respect to those weights, autograd finds no way to them and gives none: zero, as if they had no part
in the output. The other form (`use_reentrant=False`) keeps the graph.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trak_core.errors import InvalidModelError
from trak_core.gradients.forward import with_weights

ADVICE = (
    "so gradients of single examples would be lost there. For activation checkpointing give use_reentrant=False, or "
    "switch it off (model.gradient_checkpointing_disable()): attribution does not need it. An autograd Function of "
    "your own must take its weights as inputs."
)


@contextmanager
def refusing_hidden_weights(model: nn.Module) -> Iterator[None]:
    """Within it, gradients by plain autograd are either right or refused.

    Args:
        model: while it runs, `requires_grad` of its weights says which gradients are asked for.

    Raises:
        InvalidModelError: such a weight is used inside an autograd Function that does not take it as an input, or a
            re-entrant checkpoint lies between it and the output.
    """
    try:
        with _Watch(model):
            yield
    except RuntimeError as error:
        if "checkpoint is incompatible with .grad()" not in str(error):
            raise
        raise InvalidModelError(f"selected weights come before a re-entrant checkpoint, {ADVICE}") from error


class _Watch(TorchFunctionMode):
    """Looks at the arguments of every function of torch that runs without a graph."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():
            for value in (*args, *kwargs.values()):
                if isinstance(value, Tensor) and value.requires_grad and (what := self._selected(value)):
                    if function := _hidden_in(value):
                        raise InvalidModelError(
                            f"the model uses {what} out of sight of autograd, in {function}, {ADVICE}"
                        )
        return func(*args, **kwargs)

    def _selected(self, value: Tensor) -> str:
        """What a tensor is in words: a weight whose gradient is asked for, or made of such; empty when neither."""
        if not value.is_leaf:
            return "what it made of selected weights"
        return next((repr(name) for name, weight in self._model.named_parameters() if weight is value), "")


def _hidden_in(value: Tensor) -> str:
    """The autograd Function that is running and was not given the tensor as an input; empty when there is none."""
    hidden = ""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code is not with_weights.__code__:
        if frame.f_code is torch.autograd.Function.apply.__func__.__code__:  # type: ignore[attr-defined]
            if any(each is value for each in frame.f_locals["args"]):
                return ""
            hidden = hidden or frame.f_locals["cls"].__name__
        frame = frame.f_back
    return hidden
