"""Random 32-bit words by counter: Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

Word number i of a stream depends on the seed and on i alone. So any part of a projection can be drawn without the parts
before it, in any order and on any device, and nothing but the seed is ever kept. The arithmetic is that of whole
numbers, the same on a CPU, on a GPU and in a Triton kernel (`tl.philox`).
"""

from enum import IntEnum

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


class Stream(IntEnum):
    """What words are drawn for; the last word of the counter, so that no two uses share a word."""

    SIGNS = 0
    BUCKETS = 1


def philox(counter: tuple[Tensor | int, Tensor | int, Tensor | int, Tensor | int], seed: int) -> list[Tensor]:
    """Four random words for each counter.

    Args:
        counter: four words, int64 tensors of one shape or plain numbers, each 0 to 2^32 - 1; at least one tensor.
        seed: 0 to 2^64 - 1.

    Returns:
        Four int64 tensors of the counters' shape, each word 0 to 2^32 - 1.
    """
    shaped = next(word for word in counter if isinstance(word, Tensor))
    a, b, c, d = (word if isinstance(word, Tensor) else torch.full_like(shaped, word) for word in counter)
    keys = [seed & MASK, (seed >> 32) & MASK]
    for _ in range(ROUNDS):
        # A product of two words fills 64 bits; int64 keeps them all, only its sign loses meaning.
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a = ((second >> 32) & MASK).bitwise_xor_(b).bitwise_xor_(keys[0])
        c = ((first >> 32) & MASK).bitwise_xor_(d).bitwise_xor_(keys[1])
        b, d = second.bitwise_and_(MASK), first.bitwise_and_(MASK)
        keys = [(key + step) & MASK for key, step in zip(keys, WEYL, strict=True)]
    return [a, b, c, d]


def words(start: int, stop: int, seed: int, stream: Stream, part: int, device: torch.device) -> Tensor:
    """Words `start` to `stop` of one part of a stream: int64 `[stop - start]`."""
    first = start // 4
    blocks = torch.arange(first, -(-stop // 4), device=device)
    drawn = philox((blocks & MASK, blocks >> 32, part, int(stream)), seed)
    return torch.stack(drawn, dim=1).reshape(-1)[start - 4 * first : stop - 4 * first]


def words_at(places: Tensor, seed: int, stream: Stream, part: int) -> Tensor:
    """Words of one part of a stream at any places: int64 of the shape of `places`, on its device."""
    blocks = places // 4
    drawn = torch.stack(philox((blocks & MASK, blocks >> 32, part, int(stream)), seed), dim=-1)
    return drawn.gather(-1, (places % 4)[..., None])[..., 0]
