"""Fingerprints of scores: what they were made from, so that scores made from other things are never mixed."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def score_fingerprint(run_fingerprint: str, checkpoint_sha256s: Sequence[str], ridge: float | None, method: str) -> str:
    """SHA-256 (hex) over the run's settings and data, the weights, the ridge and the method."""
    parts = [run_fingerprint, list(checkpoint_sha256s), ridge, method]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
