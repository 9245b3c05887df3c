"""Language models of Hugging Face for pairs of texts: from text to text, or prompt and completion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trak_core.modalities.ready_model import HowTrained, ModelLibrary, ReadyModel
from trak_core.modalities.text.language_models import (
    has_language_model,
    is_from_text_to_text,
    language_model,
    pretrained_digest,
    read_name,
    tokens_read,
)
from trak_core.modalities.text_pair.pair_tokens import PairTokenizer, PromptCompletion, SourceTarget

if TYPE_CHECKING:
    from torch import nn


class PairModels(ModelLibrary):
    """By their folder, or by their name where they are on this machine; `?lora=8` behind it trains adapters alone.

    A model with an encoder reads the first text and tells the second; any other goes on from the first as a prompt.
    """

    prefix = "huggingface"
    example = "FOLDER"
    takes_weights = False  # its own folder holds them
    has_adapters = True

    def find(self, name: str) -> ReadyModel:
        """As in `ModelLibrary`."""
        source, rank = read_name(name)
        both = is_from_text_to_text(source)
        kind = "AutoModelForSeq2SeqLM" if both else "AutoModelForCausalLM"
        longest = tokens_read(source, kind)
        # A prompt and its completion share the positions that the model has.
        takes = PairTokenizer(source, SourceTarget, longest, longest)
        if not both:
            takes = PairTokenizer(source, PromptCompletion, longest // 2, longest - longest // 2)

        def make(sizes: Mapping[str, int]) -> nn.Module:
            return language_model(source, kind, rank)

        return ReadyModel(
            f"{self.prefix}:{source}" + (f"?lora={rank}" if rank else ""),
            f"{Path(source).name} of Hugging Face, " + (f"adapters of rank {rank}" if rank else "all of it fine-tuned"),
            takes,
            make,
            HowTrained(5, 8, 2e-3, 0.0) if rank else HowTrained(3, 8, 5e-4, 0.01),
            sources={"pretrained": pretrained_digest(source)},
            task="seq2seq" if both else "causal_lm",
        )

    def has(self, name: str) -> bool:
        """As in `ModelLibrary`."""
        return has_language_model(name)
