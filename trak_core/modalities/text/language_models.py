"""Language models of Hugging Face by folder: read safely, whole or with adapters to train.

Weights are read from safetensors, from this machine alone, and no code that comes with a model is run.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trak_core.errors import InvalidSettingError
from trak_core.modalities.encoding import Learner
from trak_core.modalities.ready_model import HowTrained, ReadyModel
from trak_core.modalities.text.lora import LORA, check_peft, read_name, with_adapters
from trak_core.modalities.text.positions import positions_of
from trak_core.modalities.text.subword_tokens import Stamp, check_fast, first_line, stamp_of
from trak_core.modalities.text.transformers_models import model_folder, pretrained_digest, quiet, read_config

if TYPE_CHECKING:
    from torch import nn

LONGEST = 256
"""Tokens of a text that are read at most: the cost of training grows with them."""


def has_language_model(name: str) -> bool:
    """True when transformers is installed and the model is on this machine; nothing of it is read."""
    return importlib.util.find_spec("transformers") is not None and model_folder(read_name(name)[0]) is not None


def tokens_read(source: str, kind: str) -> int:
    """How many tokens of a text the model can read, and at most `LONGEST`; it is looked at whether it is of that kind.

    Raises:
        InvalidSettingError: there is no such model, it is of another kind, or transformers is not installed.
    """
    config = read_config(source)
    from trak_core.tasks.model_kinds import FILLS_IN, GOES_ON, TO_TEXT, kind_of  # brings torch

    found, wanted = kind_of(config), GOES_ON if kind == "AutoModelForCausalLM" else TO_TEXT
    if found != wanted:
        does = {
            TO_TEXT: ": it leads from text to text, for which `build text-to-text` is",
            FILLS_IN: ": it reads a text from both sides; `build table` trains it to tell classes",
        }.get(found, "")
        wants = "goes on with a text" if wanted == GOES_ON else "leads from text to text"
        raise InvalidSettingError(
            f"model='huggingface:{source}' is a {config.model_type} model, and none that {wants} ({kind})"
            f"{does}; give the folder of one that is."
        )
    return max(2, min(LONGEST, positions_of(config) or LONGEST))


def is_from_text_to_text(source: str) -> bool:
    """Whether the model has an encoder and a decoder."""
    return bool(getattr(read_config(source), "is_encoder_decoder", False))


def fine_tuned(name: str, kind: str, takes: Learner, task: str) -> ReadyModel:
    """The ready model that a name stands for, see `read_name`: fine-tuned as people begin, adapters at a higher rate.

    Args:
        name: without the prefix of its library.
        kind: the class of transformers that reads it.
        takes: what learns its encoding.
        task: name of its task.
    """
    source, rank = read_name(name)
    check_fast(source)
    if rank:
        check_peft(rank)

    def make(sizes: Mapping[str, int]) -> nn.Module:
        return language_model(source, kind, rank)

    return ReadyModel(
        f"huggingface:{source}" + (f"{LORA}{rank}" if rank else ""),
        f"{Path(source).name} of Hugging Face, " + (f"adapters of rank {rank}" if rank else "all of it fine-tuned"),
        takes,
        make,
        HowTrained(5, 8, 2e-3, 0.0) if rank else HowTrained(3, 8, 5e-4, 0.01),
        sources={"pretrained": pretrained_digest(source)},
        task=task,
    )


def language_model(source: str, kind: str, rank: int = 0) -> nn.Module:
    """The model with its pretrained weights, in float32; with a rank, frozen and with fresh LoRA adapters to train.

    Adapters: Hu et al. 2021 (arXiv 2106.09685), on all Linear layers but the head, by peft.
    """
    model = copy.deepcopy(_read(source, kind, stamp_of(model_folder(source) or source)))
    return model if not rank else with_adapters(model, rank)


@lru_cache(maxsize=2)
def _read(source: str, kind: str, stamp: Stamp) -> nn.Module:
    import torch
    import transformers
    from safetensors import SafetensorError

    models: Any = getattr(transformers, kind)
    try:
        with quiet():
            model, report = models.from_pretrained(
                source,
                output_loading_info=True,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                # The plain form of attention can be differentiated forwards too.
                attn_implementation="eager",
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InvalidSettingError(
            f"model='huggingface:{source}': its weights cannot be read ({first_line(error)}); they must be "
            "safetensors, as model.save_pretrained(FOLDER) writes them."
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise InvalidSettingError(
            f"model='huggingface:{source}': its weights lack {missing[0]!r}, which would be drawn by chance; save the "
            f"whole model by {kind}.from_pretrained(...).save_pretrained(FOLDER)."
        )
    model.config.use_cache = False
    found: nn.Module = model
    return found
