"""Seeds derived from one root seed, so that every random choice can be repeated by itself."""

import hashlib


def derive_seed(root: int, *path: str | int) -> int:
    """Seed in [0, 2**62) for the random choice named by `path` under the root seed.

    A hash rather than a running generator: the seed of one choice does not depend on which other choices
    were made before it, so a resumed build draws what an unbroken one draws.
    """
    text = "/".join(str(part) for part in (root, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 2
