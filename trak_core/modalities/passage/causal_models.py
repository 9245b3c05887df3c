"""Language models of Hugging Face that go on with a text, fine-tuned whole or by adapters (LoRA)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trak_core.modalities.passage.passage_tokens import PassageTokenizer
from trak_core.modalities.ready_model import HowTrained, ModelLibrary, ReadyModel
from trak_core.modalities.text.language_models import (
    has_language_model,
    language_model,
    pretrained_digest,
    read_name,
    tokens_read,
)

if TYPE_CHECKING:
    from torch import nn

CAUSAL = "AutoModelForCausalLM"
FINE_TUNED = HowTrained(3, 8, 5e-4, 0.01)
"""As people begin; adapters take a higher rate, see `read_name`."""


class CausalModels(ModelLibrary):
    """By their folder, or by their name where they are on this machine; `?lora=8` behind it trains adapters alone."""

    prefix = "huggingface"
    example = "FOLDER"
    takes_weights = False  # its own folder holds them
    has_adapters = True

    def find(self, name: str) -> ReadyModel:
        """As in `ModelLibrary`."""
        source, rank = read_name(name)
        longest = tokens_read(source, CAUSAL)

        def make(sizes: Mapping[str, int]) -> nn.Module:
            return language_model(source, CAUSAL, rank)

        return ReadyModel(
            f"{self.prefix}:{source}" + (f"?lora={rank}" if rank else ""),
            f"{Path(source).name} of Hugging Face, " + (f"adapters of rank {rank}" if rank else "all of it fine-tuned"),
            PassageTokenizer(source, longest),
            make,
            FINE_TUNED if not rank else HowTrained(5, 8, 2e-3, 0.0),
            sources={"pretrained": pretrained_digest(source)},
            task="causal_lm",
        )

    def has(self, name: str) -> bool:
        """As in `ModelLibrary`."""
        return has_language_model(name)
