"""What a model of Hugging Face does with texts, by its configuration."""

from __future__ import annotations

from typing import Any

GOES_ON, TO_TEXT, FILLS_IN = "goes on", "text to text", "fills in"


def kind_of(config: Any) -> str:
    """`GOES_ON`, `TO_TEXT`, `FILLS_IN` for an encoder alone, or "" for what is none of these.

    Encoders such as BERT can be made decoders, and say in their configuration whether they are.
    """
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    )

    mappings: Any = (MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING)
    to_text, masked, causal = mappings
    if getattr(config, "is_encoder_decoder", False):
        return TO_TEXT if type(config) in to_text else ""
    if type(config) in masked and not getattr(config, "is_decoder", False):
        return FILLS_IN
    return GOES_ON if type(config) in causal else ""
