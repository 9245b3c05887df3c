"""The kernels of all checkpoints, made when they are needed and kept while the budget allows."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from trak_core.engine.train_rows import TrainRows
from trak_core.methods import DualKernel, PrimalKernel
from trak_core.projection import FeatureMap

__all__ = ["CheckpointKernels", "uses_dual"]


def uses_dual(is_linear: bool, n_train: int, width: int) -> bool:
    """True when the kernel is solved over train examples rather than over feature dimensions."""
    return not is_linear or n_train <= width


class CheckpointKernels:
    """One kernel a checkpoint, and its Cholesky factor at the ridge asked for last.

    Args:
        rows: train features.
        maps: of each checkpoint, for inner products.
        n_train: number of train examples.
        budget: bytes that kernels and factors may take; the oldest are let go.
    """

    def __init__(self, rows: TrainRows, maps: Sequence[FeatureMap], n_train: int, budget: int) -> None:
        self._rows = rows
        self._maps = maps
        self._n_train = n_train
        self._budget = budget
        self._kernels: OrderedDict[int, PrimalKernel | DualKernel] = OrderedDict()
        self._factors: OrderedDict[int, tuple[float, Tensor]] = OrderedDict()

    def attribute(self, checkpoint_id: int, rows: Tensor, ridge: float, total: Tensor) -> None:
        """Adds the attribution of test features `[m, width]` to `total` `[m, n_train]`."""
        kernel, factor = self._solved(checkpoint_id, ridge)
        feature_map = self._maps[checkpoint_id]
        if isinstance(kernel, PrimalKernel):
            operator = kernel.precondition(rows, factor)
            at = 0
            for block in self._rows.blocks(checkpoint_id):
                total[:, at : at + len(block)].addmm_(operator, block.T)
                at += len(block)
            return
        inner = [feature_map.inner_products(rows, block) for block in self._rows.blocks(checkpoint_id)]
        total += kernel.attribute(torch.cat(inner, dim=1), factor)

    def leverages(self, checkpoint_id: int, ridge: float) -> Tensor:
        """Leverages of the train examples `[n_train]`, each from 0 to 1."""
        kernel, factor = self._solved(checkpoint_id, ridge)
        if isinstance(kernel, PrimalKernel):
            return torch.cat([kernel.leverages(block, factor) for block in self._rows.blocks(checkpoint_id)])
        return kernel.leverages(factor)

    def _solved(self, checkpoint_id: int, ridge: float) -> tuple[PrimalKernel | DualKernel, Tensor]:
        kernel = self._kernels.get(checkpoint_id)
        if kernel is None:
            kernel = self._make(checkpoint_id)
            self._kernels[checkpoint_id] = kernel
        known = self._factors.get(checkpoint_id)
        if known is None or known[0] != ridge:
            self._factors[checkpoint_id] = (ridge, kernel.factorize(ridge))
        self._let_go(checkpoint_id)
        return kernel, self._factors[checkpoint_id][1]

    def _make(self, checkpoint_id: int) -> PrimalKernel | DualKernel:
        feature_map = self._maps[checkpoint_id]
        if not uses_dual(feature_map.is_linear, self._n_train, feature_map.width):
            return PrimalKernel.of(self._rows.blocks(checkpoint_id))
        parts = []
        for block in self._rows.blocks(checkpoint_id):
            others = self._rows.blocks(checkpoint_id)
            parts.append(torch.cat([feature_map.inner_products(block, other) for other in others], dim=1))
        return DualKernel(torch.cat(parts))

    def _let_go(self, needed: int) -> None:
        """Drops the oldest kernels, but the one in use, until the rest fits into the budget."""
        for checkpoint_id in [key for key in self._kernels if key != needed]:
            if self._held() <= self._budget:
                return
            del self._kernels[checkpoint_id]
            self._factors.pop(checkpoint_id, None)

    def _held(self) -> int:
        matrices = [
            kernel.gram if isinstance(kernel, PrimalKernel) else kernel.kernel for kernel in self._kernels.values()
        ]
        return sum(matrix.nbytes for matrix in [*matrices, *(factor for _, factor in self._factors.values())])
