"""How long a text a pretrained model can read, by its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def positions_of(config: Any) -> int | None:
    """How many tokens a model can read; None where its configuration sets no limit.

    Rotary positions (RoPE) can be computed for any place, but a model has never learnt to read beyond those that it was
    trained for, so that what it says there explains nothing. Where its configuration scales them (linear, dynamic,
    YaRN: Peng et al. 2023, arXiv 2309.00071), it reads as many times more.
    """
    longest = getattr(config, "max_position_embeddings", None)
    if not isinstance(longest, int) or longest < 1:
        return None
    told = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(told, Mapping):
        return longest
    # Some models have several, by kind of layer.
    each = [part for part in (told, *told.values()) if isinstance(part, Mapping) and "factor" in part]
    scaled = [
        int(float(part["factor"] or 1) * int(part.get("original_max_position_embeddings") or longest)) for part in each
    ]
    return max([longest, *scaled])


def has_rotary_positions(config: Any) -> bool:
    """Whether positions are rotations, which go on beyond those that were learnt."""
    return bool(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None))
