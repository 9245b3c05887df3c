"""Gradients by hooks: one batched forward and backward pass, no per-example backward.

Forward hooks keep what each layer multiplies its weights with; one backward pass of the summed model output gives the
gradient at each layer's output, a row of it for each example, because no example sees another. Both together are the
gradient with respect to the layer's parameters, as outer products that nobody has to form.

Weights take no part in the backward pass: the graph begins at the output of the first selected layer, so that what
lies before it, and every gradient of an unselected layer, is never computed.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from trak_core.gradients.forward import StateDict, dtype_of, read_outputs, with_weights
from trak_core.gradients.layer_gradients import ExplicitGradients, LayerGradients, SummedGradients, TableRows
from trak_core.gradients.layers import Layer, is_transposed
from trak_core.gradients.module_gradients import (
    ModuleRun,
    UnhookableError,
    has_formula,
    module_gradients,
)
from trak_core.gradients.recording import Recording, recording_hooks, versions_of
from trak_core.gradients.shared_layers import SharedLayers
from trak_core.inputs import count
from trak_core.tasks import Inputs, Task


class HookedModules:
    """Which modules use the parameters of each layer, and how they ran on the examples that hooks were tried on.

    How they ran must hold for every later batch: a layer that runs on some rows only, picked by the data, would
    otherwise give its rows to the wrong examples.
    """

    def __init__(self, model: nn.Module, layers: list[Layer]) -> None:
        self._owners = _owners(model)
        self._first_names = {_full(*owner): first for first, owners in self._owners.items() for owner in owners}
        # Each layer as each of the modules sees it: one module for most, none where hooks cannot follow.
        self.uses = [_uses(model, layer, self._owners) for layer in layers]
        self.modules = {use.name: model.get_submodule(use.name) for uses in self.uses for use in uses}
        self.are_known = False  # True once it was learnt how they run
        self._habits: dict[str, set[object]] = {}

    def why_not(self, model: nn.Module, layers: list[Layer]) -> str:
        """The reason why hooks cannot give the gradients of these layers; empty when nothing speaks against it."""
        for layer, uses in zip(layers, self.uses, strict=True):
            if uses:
                continue
            if shared := [self._owners[name] for name in layer.parameters if len(self._owners[name]) > 1]:
                return f"{' and '.join(_full(*owner) for owner in shared[0])} are one shared parameter"
            module = model.get_submodule(layer.name)
            what = f"{layer.name or 'the model itself'} ({type(module).__name__})"
            if isinstance(module, nn.Embedding):
                return f"{what} renormalises its rows while it runs, or scales their gradients by their frequency"
            return f"{what} owns parameters beside those of its layers"
        return ""

    def keep_to_habit(self, name: str, habit: object, what: str) -> None:
        """Learns how a module runs, or refuses by UnhookableError what was not learnt."""
        learnt = self._habits.setdefault(name, set())
        if self.are_known and habit not in learnt:
            raise UnhookableError(f"layer {name!r} runs on {what}, and not always so")
        learnt.add(habit)

    def by_module(self) -> dict[str, dict[str, str]]:
        """For each module its selected parameters as it calls them, and the first name of each."""
        found: dict[str, dict[str, str]] = {name: {} for name in self.modules}
        for uses in self.uses:
            for use in uses:
                for name, leaf in zip(use.parameters, use.leaves, strict=True):
                    found[use.name][leaf] = self._first_names[name]
        return found

    @property
    def may_be_shared(self) -> bool:
        """False once it is known that no module runs once for the whole batch."""
        return not self.are_known or any(_SHARED in habits for habits in self._habits.values())


Runs = dict[str, list[ModuleRun]]
"""The runs of each module by its name."""
Result = TypeVar("Result")
_SHARED = "one input for the whole batch"
_Owners = dict[str, list[tuple[str, str]]]
"""For each parameter by its first name, the modules that own it and how they call it."""


def _owners(model: nn.Module) -> _Owners:
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    owners: _Owners = {}
    for name, module in model.named_modules():
        running = _running(model, name)
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                inside = _full(name, leaf).removeprefix(f"{running}.")
                owners.setdefault(first[id(parameter)], []).append((running, inside))
    return owners


def _running(model: nn.Module, name: str) -> str:
    """The module itself, or for one that never runs, such as a ParameterDict, the next one around it that does."""
    while name and type(model.get_submodule(name)).forward is nn.Module.forward:
        name = name.rpartition(".")[0]
    return name


def _full(module: str, leaf: str) -> str:
    return f"{module}.{leaf}" if module else leaf


def _uses(model: nn.Module, layer: Layer, owners: _Owners) -> list[Layer]:
    """The layer as each module sees it that uses its parameters; empty where hooks cannot follow."""
    of_modules: dict[str, list[str]] = {}
    for name in layer.parameters:
        for module_name, leaf in owners[name]:
            of_modules.setdefault(module_name, []).append(leaf)
    uses = []
    for name, leaves in of_modules.items():
        module = model.get_submodule(name)
        if not has_formula(module, leaves):
            # Any module but the whole model can run once more for each row; not a table that looks at its batch.
            if len(of_modules) == 1 and name and not isinstance(module, nn.Embedding):
                uses.append(replace(layer, name=name))
            continue
        if len(of_modules) == 1:
            return [layer]
        parameters = tuple(_full(name, leaf) for leaf in leaves)
        size = sum(model.get_parameter(parameter).numel() for parameter in parameters)
        if size < layer.size and (layer.kind != "matrix" or layer.transposed != is_transposed(module)):
            return []
        uses.append(replace(layer, name=name, parameters=parameters, n_columns=size // layer.n_rows))
    return uses


def hooked_gradients(
    model: nn.Module,
    weights: StateDict,
    layers: list[Layer],
    task: Task,
    inputs: Inputs,
    targets: Tensor,
    hooked: HookedModules,
) -> tuple[Tensor, list[LayerGradients]]:
    """As `vmap_gradients`; `hooked` learns from the first batch.

    Raises:
        UnhookableError: a layer runs on inputs without a row for each example, or they are changed in place.
    """
    n = count(inputs)

    def form(outputs: Tensor, runs: Runs, frozen: StateDict) -> tuple[Tensor, list[LayerGradients]]:
        gradients = []
        for layer, uses in zip(layers, hooked.uses, strict=True):
            parts = [
                module_gradients(hooked.modules[use.name], use, runs[use.name], n, frozen)
                for use in uses
                if use.name in runs
            ]
            gradients.append(_sum(layer, parts, frozen, n))
        return outputs, gradients

    return with_runs(model, weights, task, inputs, targets, hooked, form)


def with_runs(
    model: nn.Module,
    weights: StateDict,
    task: Task,
    inputs: Inputs,
    targets: Tensor,
    hooked: HookedModules,
    work: Callable[[Tensor, Runs, StateDict], Result],
    by_side: bool = False,
) -> Result:
    """What `work` makes of the outputs `[n, ...]` and the runs of the selected modules, at the weights of these.

    Args:
        model: supplies the forward pass.
        weights: parameters and buffers by name.
        task: supplies the model output f.
        inputs: the batch.
        targets: what is asked about each example `[n, ...]`.
        hooked: the modules; learns from the first batch.
        work: takes the outputs, the runs of each module by its name, and the weights, while the model holds these.
        by_side: whether runs tell encoder and decoder apart: a layer that runs once for all examples has a run for
            each then.

    Raises:
        UnhookableError: a layer runs on inputs without a row for each example, or they are changed in place.
    """
    n = count(inputs)
    frozen = {name: value.detach() for name, value in weights.items()}
    start = torch.zeros((), device=next(iter(frozen.values())).device, requires_grad=True)
    recording = Recording(start, SharedLayers(n, start) if hooked.may_be_shared or by_side else None)

    def run() -> Result:
        # The hooks stay on: activation checkpointing runs modules once more in the backward pass, as they ran before.
        with torch.enable_grad(), recording_hooks(hooked.modules, recording):
            with recording.shared or nullcontext():
                entered = recording.shared.enter(inputs) if recording.shared else inputs
                outputs = read_outputs(model, entered, task.outputs_of, dtype_of(frozen))
            recording.is_over = True
            if recording.shared and n > 1:
                repeated = recording.shared.n_expanded
                hooked.keep_to_habit("", repeated, f"what the model repeats {repeated} times for each example")
            total = task.model_output(outputs, targets).sum()
            runs = _runs(recording, total, n, inputs, hooked, dtype_of(frozen), by_side)
        return work(outputs.detach(), runs, frozen)

    result = with_weights(model, frozen, run)
    hooked.are_known = True
    return result


def _sum(layer: Layer, parts: list[LayerGradients], weights: StateDict, n: int) -> LayerGradients:
    """The gradient of a layer from those of the modules that use it."""
    if not parts:
        # A layer with no part in the output has a gradient of zero, as in any other way to compute it.
        return ExplicitGradients(layer, weights[layer.parameters[0]].new_zeros(n, layer.size))
    tables = [part for part in parts if isinstance(part, TableRows)]
    if len(parts) == 1 and parts[0].layer is layer and (layer.kind == "table" or not tables):
        return parts[0]
    if layer.kind == "table":
        indices, deltas = (torch.cat([getattr(each, name) for each in tables], 1) for name in ("indices", "deltas"))
        return TableRows(layer, indices, deltas)
    return SummedGradients(layer, tuple(parts))


def _runs(
    recording: Recording,
    total: Tensor,
    n: int,
    inputs: Inputs,
    hooked: HookedModules,
    dtype: torch.dtype,
    by_side: bool,
) -> Runs:
    """The runs of each module that the output depends on, by one backward pass."""
    if not total.requires_grad:
        return {}  # no selected layer has a part in the output
    calls = [(name, call) for name, of_module in recording.calls.items() for call in of_module]
    shared = [call.edge for _, call in calls if call.is_shared]
    ends: list[Any] = [call.edge for _, call in calls]
    ends += [rows for _, rows in recording.shared.meetings] if recording.shared else []
    given: Sequence[Tensor | None] = torch.autograd.grad(total, ends, allow_unused=True)
    sides = (False, True) if by_side else (None,)
    of_shared = {
        side: iter(recording.shared.gradients(shared, given[len(calls) :], side) if recording.shared else ())
        for side in sides
    }
    runs: Runs = {}
    for (name, call), direct in zip(calls, given[: len(calls)], strict=True):
        apart = {side: next(deltas) for side, deltas in of_shared.items()} if call.is_shared else {}
        found: list[tuple[bool | None, Tensor]] = [(side, each) for side, each in apart.items() if each is not None]
        is_shared = bool(found)
        if direct is not None:
            if is_shared:
                raise UnhookableError(f"layer {name!r} runs for single examples and for the whole batch at once")
            found = [(call.of_decoder, direct)]
        if found and versions_of(call.arguments) != call.versions:
            raise UnhookableError(f"the input of layer {name!r} is changed in place after the layer has run")
        for side, delta in found:
            run = ModuleRun(call.arguments, call.keywords, delta.detach().to(dtype), is_shared, bool(side))
            if n > 1:
                _check_rows(name, run, n, inputs, hooked)
            runs.setdefault(name, []).append(run)
    return runs


def _check_rows(name: str, run: ModuleRun, n: int, inputs: Inputs, hooked: HookedModules) -> None:
    """Refuses a run whose rows cannot be told apart by example, or are others than in earlier batches."""
    if run.is_shared:
        hooked.keep_to_habit(name, _SHARED, _SHARED)
        return
    n_rows = len(run.delta)
    what = f"{n_rows} rows for {n} examples"
    if n_rows % n:
        raise UnhookableError(f"layer {name!r} runs on {what}")
    # Rows of an example for each position of the model's first input, such as its tokens; 0 for a row an example.
    first = tree_flatten(inputs)[0][0]
    fold = 0.0 if n_rows == n else n_rows / n / max(1, first.shape[1] if first.dim() > 1 else 1)
    hooked.keep_to_habit(name, (fold, *run.with_rows), what)
