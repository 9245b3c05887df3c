"""The ridge kernel of one checkpoint over its train rows, wherever these lie, and those of all checkpoints.

Rows are features of examples: projected gradients, or whole ones. They come in blocks, from memory or from a store that
reads them anew each time. `trak_core/methods/kernels.py` has the algebra; here it meets the rows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.methods.kernels import DualKernel, PrimalKernel
from trak_core.projection import FeatureMap


def is_dual(feature_map: FeatureMap, n_train: int) -> bool:
    """True where a kernel is cheaper, or only to be had, over train examples rather than over feature dimensions."""
    return not feature_map.is_linear or n_train <= feature_map.width


class CheckpointKernel:
    """The kernel of one checkpoint, and its Cholesky factor at the ridge asked for last.

    Args:
        train: features of the train examples in order, in blocks `[n_block, width]`. They are gone through again
            whenever they are needed, so a list, or an object that reads them anew; no generator.
        feature_map: whose inner products rows have.
        dual: True to solve over train examples, which rows without plain inner products need.
    """

    def __init__(self, train: Iterable[Tensor], feature_map: FeatureMap, dual: bool) -> None:
        self._train, self.feature_map = train, feature_map
        self._kernel = DualKernel(self._with_train(train)) if dual else PrimalKernel.of(train)
        self._factor: tuple[float, Tensor] | None = None

    @property
    def n_bytes(self) -> int:
        """Memory that the kernel and its factor take, without the rows."""
        matrix = self._kernel.kernel if isinstance(self._kernel, DualKernel) else self._kernel.gram
        return matrix.nbytes + (0 if self._factor is None else self._factor[1].nbytes)

    def read(self, rows: Iterable[Tensor]) -> Tensor:
        """What the other functions take of test examples: features in blocks, made one row for each `[m, ...]`."""
        return self._with_train(rows) if isinstance(self._kernel, DualKernel) else torch.cat(list(rows))

    def attribute(self, test: Tensor, ridge: float) -> Tensor:
        """Attributions `[m, n_train]`, not yet weighted.

        Args:
            test: of `read`.
            ridge: relative to the mean squared norm of the features.

        Raises:
            InvalidSettingError: the ridge is negative or not finite.
            SingularKernelError: the kernel has no inverse with it.
        """
        factor = self._factorize(ridge)
        if isinstance(self._kernel, DualKernel):
            return self._kernel.attribute(test, factor)
        query = self._kernel.precondition(test, factor)
        found, at = query.new_empty(len(query), self._kernel.n_train), 0
        for block in self._train:
            torch.matmul(query, block.T, out=found[:, at : at + len(block)])
            at += len(block)
        return found

    def predict(self, test: Tensor, ridge: float, weighted_masks: Tensor) -> Tensor:
        """Predicted outcomes `[m, n_subsets]`: attributions summed over subsets, without forming them.

        Args:
            test: of `read`.
            ridge: as in `attribute`, with its errors.
            weighted_masks: `[n_subsets, n_train]`, membership (0 or 1) times the mean q of the example.
        """
        factor = self._factorize(ridge)
        if isinstance(self._kernel, DualKernel):
            return self._kernel.predict(test, factor, weighted_masks)
        sums, at = test.new_zeros(len(weighted_masks), test.shape[1]), 0
        for block in self._train:
            sums.addmm_(weighted_masks[:, at : at + len(block)].to(block), block)
            at += len(block)
        return self._kernel.precondition(test, factor) @ sums.T

    def leverages(self, ridge: float) -> Tensor:
        """Leverages of the train examples `[n_train]`, each from 0 to 1; errors as in `attribute`."""
        factor = self._factorize(ridge)
        if isinstance(self._kernel, DualKernel):
            return self._kernel.leverages(factor)
        return torch.cat([self._kernel.leverages(block, factor) for block in self._train])

    def solved(self, ridge: float) -> "SolvedKernel":
        """The kernel with its ridge for good, for many small questions; errors as in `attribute`."""
        factor = self._factorize(ridge)
        if isinstance(self._kernel, DualKernel):
            return SolvedKernel(self.feature_map, torch.cat(list(self._train)), torch.cholesky_inverse(factor).float())
        train = torch.cat(list(self._train))
        return SolvedKernel(self.feature_map, None, torch.cholesky_solve(train.to(factor).T, factor).float())

    def _with_train(self, rows: Iterable[Tensor]) -> Tensor:
        """Inner products of rows with the train examples `[m, n_train]`."""
        of_each = [
            torch.cat([self.feature_map.inner_products(block, known) for known in self._train], dim=1) for block in rows
        ]
        return of_each[0] if len(of_each) == 1 else torch.cat(of_each)

    def _factorize(self, ridge: float) -> Tensor:
        if self._factor is None or self._factor[0] != ridge:
            self._factor = None  # one at a time: they are as large as the kernel
            self._factor = (ridge, self._kernel.factorize(ridge))
        return self._factor[1]


@dataclass(frozen=True)
class SolvedKernel:
    """A kernel with its ridge: attributions are one product away."""

    feature_map: FeatureMap  # whose inner products rows have
    # features of the train examples `[n_train, width]` where inner products with them come first, else None
    train: Tensor | None
    operator: Tensor  # `[n_train, n_train]` or, without `train`, `[width, n_train]`; float32

    def attribute(self, rows: Tensor) -> Tensor:
        """Attributions `[m, n_train]` float32 of features `[m, width]`, not yet weighted."""
        return (rows if self.train is None else self.feature_map.inner_products(rows, self.train)) @ self.operator


class Kernels:
    """The kernels of all checkpoints, made when they are needed and kept as long as the budget has room for them.

    Args:
        make: the kernel of a checkpoint, by number.
        n: of checkpoints.
        budget: bytes that kept kernels and their factors may take, beside one that is in use.
    """

    def __init__(self, make: Callable[[int], CheckpointKernel], n: int, budget: int = 0) -> None:
        self._make, self._n, self._budget = make, n, budget
        self._kept: dict[int, CheckpointKernel] = {}
        self._in_use: tuple[int, CheckpointKernel] | None = None

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> CheckpointKernel:
        if index in self._kept:
            return self._kept[index]
        if self._in_use is not None and self._in_use[0] == index:
            return self._in_use[1]
        self._in_use = None  # before the next one takes as much again
        kernel = self._make(index)
        held = sum(each.n_bytes for each in self._kept.values())
        if held + 2 * kernel.n_bytes <= self._budget:  # its factor will be as large
            self._kept[index] = kernel
        else:
            self._in_use = (index, kernel)
        return kernel
