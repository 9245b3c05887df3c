"""Records what modules do in one forward pass: what each was given, and where its output lies in the graph."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from trak_core.gradients.module_gradients import UnhookableError, computes_otherwise
from trak_core.gradients.shared_layers import SharedLayers

Record = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]
"""A forward hook."""


@dataclass
class Call:
    """One run of a module: its arguments, the versions of their content, and where its output lies in the graph."""

    arguments: list[Any]
    keywords: tuple[str, ...]
    versions: list[int | None]
    edge: GradientEdge
    is_shared: bool
    of_decoder: bool


@dataclass
class Recording:
    """What the hooks saw of one forward pass."""

    start: Tensor
    shared: SharedLayers | None
    is_over: bool = False
    calls: dict[str, list[Call]] = field(default_factory=dict)


@contextmanager
def recording_hooks(modules: dict[str, nn.Module], recording: Recording) -> Iterator[None]:
    """Within it, modules by their names are recorded."""
    with ExitStack() as hooks:
        for name, module in modules.items():
            record = _recorder(name, recording)
            if computes_otherwise(module):
                inside = _Inside(module, record)
                hooks.enter_context(module.register_forward_pre_hook(inside.begin))
                hooks.enter_context(module.register_forward_hook(inside.end, with_kwargs=True, always_call=True))
            else:
                hooks.enter_context(module.register_forward_hook(record, with_kwargs=True))
        yield


class _Inside(TorchFunctionMode):
    """Records what a module gives `F.embedding` or `F.linear` with its own weight, or itself where it gives nothing."""

    def __init__(self, module: nn.Module, record: Record) -> None:
        super().__init__()
        self._module, self._record = module, record
        self._has_recorded = False

    def begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Before the module runs."""
        self._has_recorded = False
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """After it has run, or failed."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        return output if output is None or self._has_recorded else self._record(module, args, kwargs, output)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs a function of torch."""
        result = func(*args, **(kwargs or {}))
        if func not in (F.embedding, F.linear) or len(args) < 2 or args[1] is not self._module.weight:
            return result
        self._has_recorded = True
        return self._record(self._module, args[:1], {}, result)


def _recorder(name: str, recording: Recording) -> Record:
    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if not isinstance(output, Tensor):
            raise UnhookableError(f"layer {name!r} ({type(module).__name__}) gives a {type(output).__name__}")
        if not output.requires_grad:
            output = output + recording.start  # the graph begins here
        if not recording.is_over:
            arguments = [*args, *kwargs.values()]
            is_shared = recording.shared is not None and recording.shared.begins_at(arguments)
            of_decoder = recording.shared is not None and recording.shared.are_of_decoder(arguments)
            arguments = [each.detach() if isinstance(each, Tensor) else each for each in arguments]
            edge = get_gradient_edge(output)
            call = Call(arguments, tuple(kwargs), versions_of(arguments), edge, is_shared, of_decoder)
            recording.calls.setdefault(name, []).append(call)
        return output

    return record


def versions_of(arguments: list[Any]) -> list[int | None]:
    """How often the content of each argument was changed in place so far."""
    return [each._version if isinstance(each, Tensor) else None for each in arguments]
