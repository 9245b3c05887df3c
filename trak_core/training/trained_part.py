"""Checkpoints that hold what was trained alone, with the SHA-256 of the frozen parameters that they belong to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trak_core.errors import CheckpointMismatchError

StateDict = dict[str, Tensor]
FROZEN = "frozen_sha256"
"""What a file of a trained part says in its metadata."""


def _all_of(model: nn.Module) -> StateDict:
    """All parameters and buffers that a model saves, shared ones once, not copied."""
    kept = model.state_dict()
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: value.detach() for name, value in named if name in kept}


def trained_part(model: nn.Module) -> StateDict:
    """The parameters that require gradients, and the buffers, by name, not copied."""
    frozen = _frozen(model)
    return {name: value for name, value in _all_of(model).items() if name not in frozen}


def frozen_part(model: nn.Module) -> StateDict:
    """The parameters that require no gradients where others do, under all their names; empty where all or none do."""
    named = dict(model.named_parameters(remove_duplicate=False))
    frozen = {name: value.detach() for name, value in named.items() if not value.requires_grad}
    return frozen if len(frozen) < len(named) else {}


def save_trained(model: nn.Module, path: Path, sha256: str | None = None) -> None:
    """Writes the trained part of a model as a safetensors file; `sha256` is its `frozen_sha256`, where it is known."""
    state = {name: value.cpu().contiguous().clone() for name, value in trained_part(model).items()}
    save_file(state, path, metadata={FROZEN: frozen_sha256(model) if sha256 is None else sha256})


def frozen_sha256(model: nn.Module) -> str:
    """SHA-256 (hex) of the parameters that require no gradients, the same in every precision that holds them."""
    frozen, state = _frozen(model), _all_of(model)
    return _digest({name: state[name] for name in frozen})


def frozen_sha256_of(path: Path) -> str:
    """The SHA-256 of what a file was trained upon; empty where it is no file of a trained part."""
    if path.suffix != ".safetensors" or not path.is_file():
        return ""
    try:
        with safe_open(path, framework="pt") as file:
            return str((file.metadata() or {}).get(FROZEN, ""))
    except (SafetensorError, OSError):
        return ""  # as reading it tells


def check_frozen(trained: StateDict, sha256: str, model: nn.Module, what: str) -> None:
    """Refuses a model whose other parameters are not those that a part was trained with.

    Raises:
        CheckpointMismatchError: they are not.
    """
    others = {name: value for name, value in _all_of(model).items() if name not in trained}
    if _digest(others) != sha256:
        raise CheckpointMismatchError(
            f"{what} holds {len(trained)} trained tensors, and the {len(others)} others of the model are not those "
            "that they were trained with; give the model that the training began from."
        )


def _frozen(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if not value.requires_grad}


def _digest(state: StateDict) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu()
        value = value.to(torch.float32) if value.is_floating_point() else value
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
