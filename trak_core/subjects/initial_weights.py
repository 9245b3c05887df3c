"""Weights that a model begins its training from, in place of fresh ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trak_core.errors import CheckpointMismatchError, InvalidSettingError

if TYPE_CHECKING:
    from torch import nn

    from trak_core.gradients import StateDict


def read_weights(path: Path, model: nn.Module) -> StateDict:
    """The weights of a file, by name, each of the shape that the model has.

    Args:
        path: of a .safetensors file, or of a torch file, which is read as plain weights.
        model: that they have to fit.

    Raises:
        InvalidSettingError: there is no such file, or its name ends otherwise.
        CheckpointMismatchError: the file cannot be read as plain weights, does not fit the model, or holds weights
            that are complex or not finite.
    """
    state = _read(path)
    expected, what = model.state_dict(), f"weights={str(path)!r} does not fit the model"
    n_fitting = sum(name in state and state[name].shape == value.shape for name, value in expected.items())
    so_far = f"{n_fitting} of its {len(expected)} parameters fit"
    for name, value in expected.items():
        if name not in state:
            raise CheckpointMismatchError(
                f"{what}: parameter {name!r} of shape {tuple(value.shape)} is missing in the file, and {so_far}; give "
                f"weights of this very architecture.{_hint(state)}"
            )
        if state[name].shape != value.shape:
            raise CheckpointMismatchError(
                f"{what}: parameter {name!r} has shape {tuple(state[name].shape)} in the file and "
                f"{tuple(value.shape)} in the model, and {so_far}; give weights of this very architecture, trained on "
                "examples of this shape and as many classes."
            )
    for name, value in state.items():
        if name not in expected:
            raise CheckpointMismatchError(
                f"{what}: the file holds {name!r} of shape {tuple(value.shape)}, which the model has not, and "
                f"{so_far}; give weights of this very architecture."
            )
    _check_values(state, model, f"weights={str(path)!r}")
    return state


def _check_values(state: StateDict, model: nn.Module, what: str) -> None:
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, value in state.items():
        if value.is_complex():
            raise CheckpointMismatchError(
                f"{what}: {name!r} holds complex numbers ({value.dtype}); give weights that are real."
            )
        # A mask that is kept as a buffer may well hold infinity.
        numbers = value.float() if value.is_floating_point() else value
        bad = ~numbers.isfinite() if name in parameters else numbers.isnan()
        if bad.any():
            raise CheckpointMismatchError(
                f"{what}: {int(bad.sum()):,} of the {value.numel():,} values of {name!r} are NaN or infinite; give "
                "weights of a training that went well."
            )


def begin_from(model: nn.Module, path: Path) -> nn.Module:
    """The model itself, with the weights of the file; errors are those of `read_weights`."""
    model.load_state_dict(read_weights(path, model))
    return model


def weights_digest(path: Path) -> str:
    """SHA-256 (hex) of the weights in a file, whatever its format; errors are those of `read_weights`."""
    from trak_core.training.weights import digest_of

    return digest_of(_read(path))


def _read(path: Path) -> StateDict:
    from trak_core.training.weights import load_weights

    if not path.is_file():
        raise InvalidSettingError(f"weights={str(path)!r}: there is no such file; give the path of a checkpoint.")
    return load_weights(path, f"weights={str(path)!r}")


def _hint(state: StateDict) -> str:
    if state and all(name.startswith("module.") for name in state):
        return " Its names begin with 'module.', as DistributedDataParallel writes them: remove that from each."
    return ""
