"""Members of subsets as they lie in the store: one bit for each train example."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def pack_masks(masks: Iterable[NDArray[np.bool_]]) -> list[bytes]:
    """One blob a subset, `numpy.packbits` of bool `[n_train]`."""
    return [np.packbits(mask).tobytes() for mask in masks]


def unpack_masks(blobs: Iterable[bytes], n_train: int) -> NDArray[np.bool_]:
    """Bool `[n_subsets, n_train]` from the blobs of `pack_masks`; no rows where there are none."""
    packed = np.frombuffer(b"".join(bytes(blob) for blob in blobs), dtype=np.uint8)
    return np.unpackbits(packed.reshape(-1, (n_train + 7) // 8), axis=1)[:, :n_train].astype(bool)
