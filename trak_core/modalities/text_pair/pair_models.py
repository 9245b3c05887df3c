"""Language models of Hugging Face for pairs of texts: from text to text, or prompt and completion."""

from __future__ import annotations

from trak_core.modalities.ready_model import ModelLibrary, ReadyModel
from trak_core.modalities.text.language_models import (
    fine_tuned,
    has_language_model,
    is_from_text_to_text,
    tokens_read,
)
from trak_core.modalities.text.lora import read_name
from trak_core.modalities.text_pair.pair_tokens import PairTokenizer, PromptCompletion, SourceTarget


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
        source, _ = read_name(name)
        both = is_from_text_to_text(source)
        kind = "AutoModelForSeq2SeqLM" if both else "AutoModelForCausalLM"
        takes = PairTokenizer(source, SourceTarget if both else PromptCompletion, tokens_read(source, kind))
        return fine_tuned(name, kind, takes, "seq2seq" if both else "causal_lm")

    def has(self, name: str) -> bool:
        """As in `ModelLibrary`."""
        return has_language_model(name)
