"""Language models of Hugging Face that go on with a text, fine-tuned whole or by adapters (LoRA)."""

from __future__ import annotations

from trak_core.modalities.passage.passage_tokens import PassageTokenizer
from trak_core.modalities.ready_model import ModelLibrary, ReadyModel
from trak_core.modalities.text.language_models import fine_tuned, has_language_model, tokens_read
from trak_core.modalities.text.lora import read_name

CAUSAL = "AutoModelForCausalLM"


class CausalModels(ModelLibrary):
    """By their folder, or by their name where they are on this machine; `?lora=8` behind it trains adapters alone."""

    prefix = "huggingface"
    example = "FOLDER"
    takes_weights = False  # its own folder holds them
    has_adapters = True

    def find(self, name: str) -> ReadyModel:
        """As in `ModelLibrary`."""
        source, _ = read_name(name)
        return fine_tuned(name, CAUSAL, PassageTokenizer(source, tokens_read(source, CAUSAL)), "causal_lm")

    def has(self, name: str) -> bool:
        """As in `ModelLibrary`."""
        return has_language_model(name)
