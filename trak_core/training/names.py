"""Models in wrappers, and weights under the names that wrappers give them.

`DataParallel` and others put "module." before every name, `torch.compile` "_orig_mod.", Lightning "model.". Weights fit
a model when, without one such prefix, they have exactly its names: no other model could then be meant.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

MARKS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What wrappers of a part put into the middle of names."""
COUNTS = ("n_averaged",)
"""What `AveragedModel` keeps beside the weights."""
USUAL_KEYS = ("state_dict", "model_state_dict", "model")
"""Where training scripts put the weights, among other things that they save."""
DEPTH = 3


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without DataParallel, DistributedDataParallel, torch.compile or AveragedModel around it."""
    from torch.optim.swa_utils import AveragedModel

    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel):
            model = model.module
        elif type(model).__name__ == "OptimizedModule" and isinstance(
            compiled := model._modules.get("_orig_mod"), nn.Module
        ):
            model = compiled
        else:
            return model


def without_compilers(model: nn.Module) -> nn.Module:
    """The model itself, in which no part is compiled any more: gradients of single examples need plain ones."""
    for module in list(model.modules()):
        for name, part in list(module.named_children()):
            if (plain := unwrapped(part)) is not part:
                setattr(module, name, plain)
    return model


def named_alike(state: Mapping[str, Tensor], names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """The weights as they are, then under each set of names that they may have without a wrapper, or with one.

    Args:
        state: weights by name.
        names: of the model that they may be of.
    """
    yield dict(state)
    expected = list(names)
    plain = {_without_marks(name): name for name in expected}
    kept = {name: value for name, value in state.items() if name not in COUNTS or name in plain}
    for prefix in ("", *_prefixes(kept)):
        for before in ("", *_prefixes(plain)):
            found = {before + _without_marks(name.removeprefix(prefix)): value for name, value in kept.items()}
            if len(found) == len(kept) and (prefix or before or found.keys() != state.keys()):
                yield {plain.get(name, name): value for name, value in found.items()}


def fitting(
    state: Mapping[str, Tensor], names: Iterable[str], misfits: Callable[[dict[str, Tensor]], str]
) -> tuple[dict[str, Tensor], str]:
    """The weights under the names of the model and "", or the weights as they are and what does not fit.

    Args:
        state: weights by name.
        names: of the model.
        misfits: tells what of weights does not fit, empty where all does.
    """
    expected = list(names)
    problems = misfits(dict(state))
    if not problems:
        return dict(state), ""
    for renamed in named_alike(state, expected):
        if not misfits(renamed):
            return renamed, ""
    return dict(state), problems + _hint(state, misfits)


def _hint(state: Mapping[str, Tensor], misfits: Callable[[dict[str, Tensor]], str]) -> str:
    """Where a part of the weights would fit: under which prefix, beside which the other names are too many."""
    heads = dict.fromkeys(prefix for name in state for prefix in _heads(name))
    for prefix in heads:
        part = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if not misfits(part):
            return (
                f" (those that begin with {prefix!r} fit without it: give {{key.removeprefix({prefix!r}): value for "
                f"key, value in state.items() if key.startswith({prefix!r})}})"
            )
    return ""


def _without_marks(name: str) -> str:
    for mark in MARKS:
        name = name.replace(mark, "")
    return name


def _heads(name: str) -> list[str]:
    """The beginnings of a name, up to each of its dots."""
    return [name[: at + 1] for at, sign in enumerate(name) if sign == "."]


def _prefixes(names: Iterable[str]) -> list[str]:
    """Beginnings that all names share, up to a dot, the shortest first."""
    every = list(names)
    return [] if not every else [head for head in _heads(every[0]) if all(name.startswith(head) for name in every)]


def weights_in(found: Mapping[Any, Any], depth: int = DEPTH) -> tuple[dict[Any, Tensor], list[str]]:
    """The tensors of what a training script saved, and the keys under which there are several sets of them.

    A set is taken from under its usual key ("state_dict", "model_state_dict", "model"), or else from where the only one
    lies. The keys are empty where there is one set or none.
    """
    sets = {key: inner for key, value in found.items() if (inner := _set_in(value, depth))}
    for key in USUAL_KEYS:
        if key in sets:
            return sets[key], []
    own = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    if not sets or any(value.dim() for value in own.values()):  # single numbers tell of epochs and losses
        return own, []
    return (next(iter(sets.values())), []) if len(sets) == 1 else ({}, [str(key) for key in sets])


def _set_in(value: Any, depth: int) -> dict[Any, Tensor]:
    """The only set of weights that lies somewhere below; empty where there is none, or more than one."""
    if isinstance(value, nn.Module):
        return dict(value.state_dict())
    if not isinstance(value, Mapping) or depth == 0 or "param_groups" in value:
        return {}
    return weights_in(value, depth - 1)[0]
