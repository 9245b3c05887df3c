"""What turns new texts and images into inputs, as facts that a run keeps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trak_core.datasets.pieces import Pieces
from trak_core.datasets.pixels import Pixels
from trak_core.datasets.tokens import Tokens
from trak_core.datasets.vocabulary import Vocabulary
from trak_core.errors import StoreDamagedError

__all__ = ["encoding_facts", "read_encoding"]


def encoding_facts(encoding: Vocabulary | Pixels | Tokens | Pieces | None) -> dict[str, Any]:
    """The fact under "encoding", in types that JSON has: its "kind" and what makes it up; None where there is none."""
    kept: dict[str, Any] | None = None
    if isinstance(encoding, Vocabulary):
        kept = {"kind": "words", "words": list(encoding.words), "idf": encoding.idf.tolist()}
    elif isinstance(encoding, Pixels):
        kept = {
            "kind": "pixels",
            "height": encoding.height,
            "width": encoding.width,
            "mean": list(encoding.mean),
            "deviation": list(encoding.deviation),
        }
    elif isinstance(encoding, Tokens):
        kept = {"kind": "tokens", "words": list(encoding.words), "length": encoding.length}
    elif isinstance(encoding, Pieces):
        kept = {"kind": "pieces", "source": encoding.source, "length": encoding.length}
    return {"encoding": kept}


def read_encoding(facts: Mapping[str, Any]) -> Vocabulary | Pixels | Tokens | Pieces | None:
    """The encoding that facts tell of, exactly as it was; None where they tell of none.

    Raises:
        StoreDamagedError: they tell of one, but not all of it.
    """
    try:
        return _read(facts)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreDamagedError(
            f"what the run tells of how its examples become inputs is not whole ({type(error).__name__}: {error}); "
            "build it again from its data."
        ) from error


def _read(facts: Mapping[str, Any]) -> Vocabulary | Pixels | Tokens | Pieces | None:
    kept = facts.get("encoding")
    if kept is None:
        return None
    match kept["kind"]:
        case "words":
            return Vocabulary(tuple(kept["words"]), np.asarray(kept["idf"], dtype=np.float32))
        case "pixels":
            return Pixels(kept["height"], kept["width"], tuple(kept["mean"]), tuple(kept["deviation"]))
        case "tokens":
            return Tokens(tuple(kept["words"]), kept["length"])
        case "pieces":
            return Pieces(kept["source"], kept["length"])
    raise ValueError(f"there is no kind {kept['kind']!r}")
