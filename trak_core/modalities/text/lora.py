"""LoRA adapters on a model of Hugging Face: how they are asked for, and put on it by peft."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trak_core.errors import InvalidSettingError, NeedNotMetError

if TYPE_CHECKING:
    from torch import nn

LORA = "?lora="
MOST_RANK = 1024


def read_name(name: str) -> tuple[str, int]:
    """The folder in full, or the name on Hugging Face, and the rank of the adapters; 0 to train the whole model.

    Raises:
        InvalidSettingError: the rank is no whole number from 1.
    """
    source, found, rank = name.partition(LORA)
    folder = Path(source).expanduser()
    # In full, since a run keeps it and may be read from elsewhere.
    full = str(folder.resolve()) if folder.is_dir() else source
    if not found:
        return full, 0
    if not (rank.isascii() and rank.isdecimal() and 1 <= int(rank) <= MOST_RANK):
        raise InvalidSettingError(f"lora={rank!r}; the rank of adapters is a whole number from 1 to {MOST_RANK:,}.")
    return full, int(rank)


def check_peft(rank: int) -> None:
    """Refuses adapters where peft is not installed.

    Raises:
        NeedNotMetError: it is not.
    """
    if importlib.util.find_spec("peft") is None:
        raise NeedNotMetError(f"lora={rank} needs the package peft, which is not installed; `pip install peft`.")


def with_adapters(model: nn.Module, rank: int, kept: tuple[str, ...] = ()) -> nn.Module:
    """The model frozen, with fresh LoRA adapters on all Linear layers but the head; modules kept are trained too."""
    check_peft(rank)
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        bias="none",
        modules_to_save=list(kept) or None,
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in model.modules()),
    )
    whole: Any = model
    found: nn.Module = get_peft_model(whole, config)
    return found
