"""Keeps the examples of a batch apart where a layer runs once for all of them, as position embeddings do.

```
positions = embedding(arange(length))      # [length, width]: no example, no row for each of them
hidden = words + positions                 # [n, length, width]
```

The gradient at the output of such a layer is a sum over examples. It falls apart where the output, or what was made
of it, first meets something that belongs to the batch: there it is given a row for each example. The backward pass
ends at those rows, and from there the gradient of each example goes back to the layer by itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from trak_core.tasks import Inputs

MARK = "_trak_batch"
EXPANDING = {Tensor.expand, Tensor.expand_as, Tensor.broadcast_to, torch.broadcast_to}
"""What repeats a tensor along a first dimension of size 1, or along a new one."""


def is_of_decoder(name: str) -> bool:
    """True for an input of an encoder-decoder model, by its name, that belongs to the text it writes."""
    return name == "labels" or name.startswith("decoder_")


@dataclass(frozen=True, eq=False)
class _Mark:
    """On tensors of one forward pass alone."""

    of_decoder: bool  # made of what the decoder reads, perhaps of other inputs too


class SharedLayers(TorchFunctionMode):
    """Follows one forward pass and knows which tensors belong to the batch: all that was made of the model's inputs.

    `start` is a tensor that layers add to their output so that the graph begins there; it belongs to nothing.
    """

    def __init__(self, n: int, start: Tensor) -> None:
        super().__init__()
        self.meetings: list[tuple[Tensor, Tensor]] = []
        self._n, self._start = n, start
        self._marks = _Mark(False), _Mark(True)
        self._has_begun = False
        self.n_expanded = 0  # outputs of such layers that the model itself repeats for each example

    def enter(self, inputs: Inputs) -> Inputs:
        """The inputs of the model, marked as the batch; the caller's own tensors stay as they are."""
        if isinstance(inputs, dict):
            return {name: self._mark(leaf.detach(), self._marks[is_of_decoder(name)]) for name, leaf in inputs.items()}
        marked: Inputs = tree_map(lambda leaf: self._mark(leaf.detach(), self._marks[0]), inputs)
        return marked

    def begins_at(self, arguments: Sequence[object]) -> bool:
        """True when a layer with these arguments runs once for all examples."""
        is_shared = self._found(arguments) is None
        self._has_begun |= is_shared
        return is_shared

    def are_of_decoder(self, values: Sequence[object]) -> bool:
        """True when one of the values was made of what the decoder of a model reads."""
        return self._found(values) is self._marks[True]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs a function of torch; what it makes of tensors of the batch belongs to the batch."""
        kwargs = kwargs or {}
        given = (*args, *kwargs.values()) if kwargs else args
        if (mark := self._found(given)) is None:
            result = func(*args, **kwargs)
            return self._expanded(args[0], result) if func in EXPANDING and args else result
        if self._has_begun and (of_all := [each for each in _tensors(given) if self._is_of_all(each)]):
            n_dims = max(each.dim() for each in _tensors(given) if self._mark_of(each))
            rows = {id(each): self._meet(each, n_dims, mark) for each in of_all}
            args, kwargs = tree_map(lambda each: rows.get(id(each), each), (args, kwargs))
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            return self._mark(result, mark)
        for each in _tensors(result) if isinstance(result, list | tuple) else ():
            self._mark(each, mark)
        return result

    def _expanded(self, value: Tensor, result: Tensor) -> Tensor:
        """What was repeated for each example, with rows that belong to them: positions, or biases of positions."""
        is_for_each = result.dim() > 0 and len(result) == self._n and result.shape != value.shape
        if not is_for_each or (value.dim() == result.dim() and len(value) != 1):
            return result
        if not value.is_floating_point():
            return self._mark(result, self._marks[False])
        if not self._has_begun or not self._is_of_all(value):
            return result
        self.n_expanded += 1
        shape = (1,) * (result.dim() - value.dim()) + tuple(value.shape)
        rows = value.detach().reshape(shape).expand(self._n, *shape[1:]).requires_grad_()
        self.meetings.append((value, rows))
        return self._mark(rows.expand(result.shape), self._marks[False])

    def _found(self, values: Sequence[object]) -> _Mark | None:
        """The mark of the tensors that belong to the batch, also in a list; None when there are none."""
        found = None
        for value in values:
            if isinstance(value, Tensor):
                mark = self._mark_of(value)
            else:
                mark = self._found(value) if isinstance(value, list | tuple) else None
            if mark is not None:
                found = mark
                if mark.of_decoder:
                    break
        return found

    def _mark_of(self, value: Tensor) -> _Mark | None:
        mark: _Mark | None = getattr(value, MARK, None)
        return mark if mark in self._marks else None

    def _is_of_all(self, value: Tensor) -> bool:
        """True for the output of a layer that ran once for all examples, and for what was made of it."""
        return value.requires_grad and value is not self._start and self._mark_of(value) is None

    def _meet(self, value: Tensor, n_dims: int, mark: _Mark) -> Tensor:
        """The value with a row for each example, as it broadcasts to tensors of the batch of so many dimensions."""
        shape = (1,) * (n_dims - value.dim()) + tuple(value.shape)
        if shape[0] != 1:
            return value  # has rows of its own: its way from the inputs could not be followed
        rows = value.detach().reshape(shape).expand(self._n, *shape[1:]).requires_grad_()
        self.meetings.append((value, rows))
        return self._mark(rows, mark)

    def _mark(self, value: Tensor, mark: _Mark) -> Tensor:
        setattr(value, MARK, mark)
        return value

    def gradients(
        self, edges: Sequence[GradientEdge], rows: Sequence[Tensor | None], of_decoder: bool | None = None
    ) -> Sequence[Tensor | None]:
        """Gradients of each example `[n, *shape of the output]` at the edges, outputs of layers that ran once for all.

        `rows` are the gradients at the rows of each of `meetings`, None where the output did not depend on them;
        `of_decoder` leaves the meetings with tensors of the decoder, or with all others.
        """
        met = [
            (value, row)
            for (value, at), row in zip(self.meetings, rows, strict=True)
            if row is not None and (of_decoder is None or self.are_of_decoder([at]) == of_decoder)
        ]
        if not edges or not met:
            return [None] * len(edges)
        values = [value for value, _ in met]
        given = [row.reshape(self._n, *value.shape) for value, row in met]
        again = of_decoder is not None  # for the other meetings
        return torch.autograd.grad(values, edges, given, is_grads_batched=True, allow_unused=True, retain_graph=again)


def _tensors(values: Sequence[object]) -> Iterator[Tensor]:
    """The tensors among the arguments or results of a function, also in a list of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (each for each in value if isinstance(each, Tensor))
