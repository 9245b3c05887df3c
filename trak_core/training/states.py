"""Weights that somebody's own code gave, looked at before anything rests on them."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trak_core.errors import CheckpointMismatchError, InvalidModelError
from trak_core.training.ensemble import StateDict
from trak_core.training.names import fitting, unwrapped

SHOWN = 5


def expected_shapes(architecture: nn.Module) -> dict[str, torch.Size]:
    """Shapes of the parameters and the buffers that a state dict of the architecture holds, shared ones once."""
    kept = architecture.state_dict()
    named = (*architecture.named_parameters(), *architecture.named_buffers())
    return {name: value.shape for name, value in named if name in kept}


def may_lack(architecture: nn.Module) -> frozenset[str]:
    """Names that a state dict may leave out, because training leaves them as they are.

    These are the parameters that are frozen where others are trained, as the base of an adapter is, and the buffers
    then. Where all or none are frozen there are none: such a model says nothing of what was trained.
    """
    parameters = dict(architecture.named_parameters(remove_duplicate=False))
    frozen = {name for name, parameter in parameters.items() if not parameter.requires_grad}
    if not frozen or len(frozen) == len(parameters):
        return frozenset()
    return frozenset(frozen | {name for name, _ in architecture.named_buffers()})


def misfits(
    state: Mapping[str, Tensor],
    expected: Mapping[str, torch.Size],
    known: Collection[str],
    lacking: Collection[str] = (),
) -> str:
    """What does not fit, as "missing: ...; unexpected: ...; of another shape: ..."; empty when everything does.

    `expected` are the shapes that there must be, by name, but that those named by `lacking` may be left out; `known`
    the names that there may be.
    """
    unexpected = [name for name in state if name not in known]
    missing = [(name, shape) for name, shape in expected.items() if name not in state and name not in lacking]
    kinds = {
        "missing": [f"{name} of shape {tuple(shape)}" for name, shape in missing],
        "unexpected": [f"{name} of shape {tuple(state[name].shape)}" for name in unexpected],
        "of another shape": [
            f"{name} is {tuple(state[name].shape)} instead of {tuple(shape)}"
            for name, shape in expected.items()
            if name in state and state[name].shape != shape
        ],
    }
    found = "; ".join(
        f"{title}: {', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"
        for title, names in kinds.items()
        if names
    )
    return found


def fitting_state(given: Any, architecture: nn.Module, what: str, device: str = "cpu") -> StateDict:
    """A copy of given weights on a device, floating-point ones in float32, names in the order of the architecture.

    Parameters that are frozen in the architecture may be left out, and stay so.

    `what` gave them, for messages, such as "train_model(718 indices, seed 3)".

    Raises:
        InvalidModelError: it is neither a state dict nor a module that holds the weights.
        CheckpointMismatchError: a parameter or a buffer is missing or has another shape, or there is one too many.
    """
    state = unwrapped(given).state_dict() if isinstance(given, nn.Module) else given
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise InvalidModelError(
            f"{what} returns {_kind(given)}; it must return the trained weights: model.state_dict(), or the model."
        )
    expected = expected_shapes(architecture)
    known, lacking = architecture.state_dict(), may_lack(architecture)
    state, problems = fitting(state, known, lambda named: misfits(named, expected, known, lacking))
    if problems:
        raise CheckpointMismatchError(
            f"{what} returns weights that do not fit make_model(); {problems}. Train the architecture that make_model "
            "gives, the same for every seed and subset."
        )
    # Copies, because the next training may go on with the very tensors; float32 as methods compute.
    return {
        name: state[name].detach().to(device, torch.float32 if state[name].is_floating_point() else None, copy=True)
        for name in expected
        if name in state
    }


def is_finite(state: StateDict, architecture: nn.Module) -> bool:
    """False where a parameter is NaN or infinite, or a buffer is NaN."""
    parameters = {name for name, _ in architecture.named_parameters()}
    return not any(not_finite(name, value, parameters).any() for name, value in state.items())


def not_finite(name: str, value: Tensor, parameters: Collection[str]) -> Tensor:
    """Where a parameter is NaN or infinite, or a buffer is NaN; a mask that is kept as a buffer may hold infinity."""
    numbers = value.float() if value.is_floating_point() else value
    return ~numbers.isfinite() if name in parameters else numbers.isnan()


def _kind(given: Any) -> str:
    if isinstance(given, dict):
        if not given:
            return "an empty dict"
        key, value = next((key, value) for key, value in given.items() if not isinstance(value, Tensor))
        return f"a dict whose {key!r} is a {type(value).__name__}"
    if callable(given):
        return "a function (call it: model.state_dict())"
    return "nothing" if given is None else f"a {type(given).__name__}"
