"""Folders with weights: of `save_pretrained`, of adapters, of a Trainer's output; what they hold is never unpickled."""

from __future__ import annotations

import json
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trak_core.errors import CheckpointMismatchError, InvalidSettingError

StateDict = dict[str, Tensor]
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin")
_STEP = re.compile(r"checkpoint-(\d+)")


def weight_sources(path: Path, what: str) -> list[Path]:
    """The sets of weights at a path: itself, or the `checkpoint-*` of a Trainer's output folder in order of their step.

    Raises:
        InvalidSettingError: there is none.
    """
    if not path.is_dir():
        return [path]
    steps = {int(found[1]): each for each in path.iterdir() if (found := _STEP.fullmatch(each.name)) and each.is_dir()}
    if steps:
        return [each for step in sorted(steps) for each in weight_sources(steps[step], f"checkpoint {steps[step]}")]
    if any((path / name).is_file() for name in (WHOLE, INDEX, ADAPTER)):
        return [path]
    if pickled := next((name for name in PICKLED if (path / name).is_file()), None):
        raise InvalidSettingError(
            f"{what} holds its weights as {pickled} alone, which could run code when read, so it is refused; load them "
            "where you trust them and write them anew with model.save_pretrained(folder)."
        )
    raise InvalidSettingError(
        f"{what} is a folder without {WHOLE}, {ADAPTER} or checkpoint-*; give one that model.save_pretrained or a "
        "Trainer wrote, or a file."
    )


def is_adapter(path: Path) -> bool:
    """Whether a path is a folder of adapters alone, without the model that they belong to."""
    return (path / ADAPTER).is_file() and not any((path / name).is_file() for name in (WHOLE, INDEX))


def read_folder(path: Path, what: str) -> StateDict:
    """The tensors of a folder with weights, by the names that they have there.

    Raises:
        CheckpointMismatchError: a file is damaged or missing.
    """
    files = [path / name for name in (WHOLE, ADAPTER) if (path / name).is_file()][:1] or _shards(path, what)
    state: StateDict = {}
    for file in files:
        try:
            state |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise CheckpointMismatchError(
                f"{what}: {file.name} is missing or no readable safetensors file ({str(error).splitlines()[0]}); copy "
                "or save the folder again."
            ) from error
    return state


def adapter_config(path: Path, what: str) -> dict[str, object]:
    """What a folder of adapters says of them; CheckpointMismatchError where it does not say it."""
    return _read_json(path / ADAPTER_CONFIG, what)


def _shards(path: Path, what: str) -> list[Path]:
    named = _read_json(path / INDEX, what).get("weight_map")
    names = set(named.values()) if isinstance(named, dict) else set()
    # What an index names lies beside it, and nowhere else.
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise CheckpointMismatchError(f"{what}: {INDEX} names no files of this folder; save the model again.")
    return [path / name for name in sorted(names)]


def _read_json(path: Path, what: str) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointMismatchError(f"{what}: {path.name} is missing or no JSON; copy the folder again.") from error
    if not isinstance(found, dict):
        raise CheckpointMismatchError(f"{what}: {path.name} holds no object; copy the folder again.")
    return found
