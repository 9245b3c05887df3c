"""Adapters of peft: LoRA, DoRA and others, kept without the model that they belong to."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trak_core.errors import CheckpointMismatchError
from trak_core.training.folders import adapter_config, read_folder

StateDict = dict[str, Tensor]


def has_adapters(model: nn.Module) -> bool:
    """Whether a model is one of peft, with adapters."""
    return isinstance(getattr(model, "peft_config", None), dict) and hasattr(model, "get_base_model")


def train_adapters(model: nn.Module) -> None:
    """Lets the adapters of a model be differentiated where they were loaded to be used, which freezes them."""
    if not has_adapters(model):
        return
    configs: Any = model.peft_config
    if not configs[_active(model)].inference_mode and any(parameter.requires_grad for parameter in model.parameters()):
        return
    names = set(_adapter_names(model).values())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


def read_adapters(path: Path, model: nn.Module, what: str) -> StateDict:
    """The weights of a folder of adapters, under the names that they have in a model.

    Raises:
        CheckpointMismatchError: the model has no such adapters, or they belong to another base.
    """
    declared = adapter_config(path, what)
    if not has_adapters(model):
        install = "" if importlib.util.find_spec("peft") else ", after `pip install peft`"
        raise CheckpointMismatchError(
            f"{what} holds adapters alone, but the model has none; give the model with them: "
            f"peft.PeftModel.from_pretrained(model, {str(path)!r}){install}."
        )
    base = declared.get("base_model_name_or_path")
    own = getattr(getattr(model, "config", None), "name_or_path", None)
    if isinstance(base, str) and isinstance(own, str) and base and own and not _are_same(base, own):
        raise CheckpointMismatchError(
            f"{what} holds adapters for the base {base!r}, but the model is {own!r}; put them on the model that they "
            "were trained on."
        )
    names = _adapter_names(model)
    state = {names.get(name, name): value for name, value in read_folder(path, what).items()}
    if missing := sorted(set(names.values()) - state.keys()):
        raise CheckpointMismatchError(
            f"{what} lacks {missing[0]!r}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}, which the "
            "model's adapters have; give adapters of one configuration."
        )
    return state


def _are_same(one: str, other: str) -> bool:
    """Whether two names of models may mean the same; a folder may have been moved."""
    if Path(one).is_dir() and Path(other).is_dir():
        return Path(one).resolve() == Path(other).resolve()
    return Path(one).name == Path(other).name


def _adapter_names(model: nn.Module) -> dict[str, str]:
    """Names of the weights of the active adapter, from those in its files to those in the model."""
    from peft import get_peft_model_state_dict

    name, state = _active(model), dict(model.state_dict())
    names = {id(value): key for key, value in state.items()}
    # Without a look at embeddings, for which peft would ask the network.
    kept = get_peft_model_state_dict(model, state_dict=state, adapter_name=name, save_embedding_layers=False)
    found = {saved: names[id(value)] for saved, value in kept.items() if id(value) in names}
    # A prompt that is learnt is saved as it is used, and not as the tensor that the model has.
    prompts = [key for key in state if key.startswith(f"prompt_encoder.{name}.")]
    for saved, value in kept.items():
        same = [key for key in prompts if saved not in found and state[key].shape == value.shape]
        if len(same) == 1 and torch.equal(state[same[0]], value.to(state[same[0]])):
            found[saved] = same[0]
    return found


def _active(model: nn.Module) -> str:
    """The name of the adapter that is used, of several the first."""
    active: Any = getattr(model, "active_adapter", "default")
    return active if isinstance(active, str) else str(active[0])
