"""Fingerprints of scores: what they were made from, so that scores made from other things are never mixed."""

import hashlib
import json
from collections.abc import Sequence

__all__ = ["score_fingerprint"]


def score_fingerprint(run_fingerprint: str, checkpoint_sha256s: Sequence[str], ridge: float, method: str) -> str:
    """SHA-256 (hex) over the run's settings and data, the weights, the ridge and the method."""
    parts = [run_fingerprint, list(checkpoint_sha256s), ridge, method]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
