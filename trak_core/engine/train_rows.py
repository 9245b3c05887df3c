"""Train features of one checkpoint as kernels need them: block by block, kept in memory while the budget allows."""

from collections.abc import Iterator

import torch
from torch import Tensor

from trak_core.store.features import FeatureStore

__all__ = ["TrainRows"]


class TrainRows:
    """Rows `[n_train, width]` of each checkpoint, on the device.

    Args:
        store: that holds them.
        n_train: number of train examples.
        width: length of a row.
        dtype: of the rows.
        device: where they are wanted.
        budget: bytes that may be kept; what does not fit is read again each time.
    """

    def __init__(
        self, store: FeatureStore, n_train: int, width: int, dtype: torch.dtype, device: torch.device, budget: int
    ) -> None:
        self._store = store
        self._device = device
        self._size = n_train * width * dtype.itemsize
        self._dtype = dtype
        self._n_train, self._width = n_train, width
        self._budget = budget
        self._kept: dict[int, Tensor] = {}

    def blocks(self, checkpoint_id: int) -> Iterator[Tensor]:
        """Rows in order, in one block or several."""
        in_place = self._store.in_memory and self._device.type == "cpu"
        if not in_place and checkpoint_id not in self._kept and (len(self._kept) + 1) * self._size <= self._budget:
            self._kept[checkpoint_id] = self._read_all(checkpoint_id)
        if checkpoint_id in self._kept:
            yield self._kept[checkpoint_id]
            return
        for start in self._store.starts(checkpoint_id):
            rows = self._store.rows(checkpoint_id, start)
            # A copy: what a file gives is read-only, which torch does not know.
            yield torch.from_numpy(rows) if in_place else torch.tensor(rows, device=self._device)

    def _read_all(self, checkpoint_id: int) -> Tensor:
        kept = torch.empty(self._n_train, self._width, dtype=self._dtype, device=self._device)
        for start in self._store.starts(checkpoint_id):
            rows = self._store.rows(checkpoint_id, start)
            kept[start : start + len(rows)] = torch.tensor(rows)
        return kept
