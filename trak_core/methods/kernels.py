"""TRAK for one checkpoint: the ridge kernel over the training set, solved where it is smaller; and those of all.

With features Phi `[n_train, k]`, a test feature phi and a ridge l (Park et al. 2023, arXiv 2303.14186, section 3, with
a ridge added) the attribution of a test example is

    phi (Phi^T Phi + l I)^-1 Phi^T  =  k(z) (Phi Phi^T + l I)^-1,    k(z) = phi Phi^T

The left side (primal) works with a matrix `[k, k]`, whatever `n_train` is. The right side (dual) needs inner products
only, `[n_train, n_train]` of them: with few training examples it is cheaper, and it can take whole gradients, without a
projection and its noise. Rows of features come in blocks, from memory or from a store that reads them anew each time.

The ridge is relative: `l = ridge * trace / n_train`, the mean squared norm of the features, so that one number suits
checkpoints of any scale and both sides. Without it the kernel is singular as soon as `k` reaches `n_train`, and noisy
long before. The self-influence of a train example is its own leverage times its weight.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.errors import AttributionWarning, InvalidSettingError, SingularKernelError
from trak_core.projection import FeatureMap

DEFAULT_RIDGE = 3.0
"""Where no retrained models are at hand to choose by: on two reference networks the LDS is flat from 1 to 5, and
falls on both sides."""
RIDGES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Candidates where retrained models are at hand to choose by."""
SAFE_RIDGE = 0.1
"""The smallest ridge that float32 carries without losing digits that matter."""


def check_ridge(ridge: float, n_train: int, proj_dim: int | None, dtype: torch.dtype) -> None:
    """Refuses a ridge that cannot work, and warns of one that hardly does.

    `proj_dim` and `dtype` are those of the features; None stands for whole gradients.

    Raises:
        InvalidSettingError: the ridge is negative or not finite.
        SingularKernelError: the ridge is 0 and the features have at least as many dimensions as there are examples.
    """
    _check_finite(ridge)
    if ridge >= 0.01:
        return
    if proj_dim is None:
        if dtype != torch.float64:
            warnings.warn(
                f"ridge={ridge:g} with float32 inner products of {n_train} train examples: rounding is then as large "
                f"as the ridge. Use precision='float64', or a ridge of about {DEFAULT_RIDGE:g}.",
                AttributionWarning,
                stacklevel=3,
            )
        return
    if ridge == 0 and proj_dim >= n_train:
        raise SingularKernelError(
            f"ridge=0 with proj_dim={proj_dim} and n_train={n_train}: the kernel of {n_train} examples in {proj_dim} "
            f"dimensions has no inverse. Use a ridge, {DEFAULT_RIDGE:g} is usual, or proj_dim of at most "
            f"{n_train // 3}."
        )
    if proj_dim > n_train / 3:
        warnings.warn(
            f"ridge={ridge:g} with proj_dim={proj_dim} and n_train={n_train}: with so little ridge the kernel is "
            f"nearly singular and scores are mostly noise. Use a ridge of about {DEFAULT_RIDGE:g}, or proj_dim of at "
            f"most {n_train // 3}.",
            AttributionWarning,
            stacklevel=3,
        )


def soft_threshold(scores: Tensor, threshold: float) -> Tensor:
    """Scores drawn towards 0 by `threshold`, those nearer than that set to 0 (Park et al. 2023, section 3)."""
    return torch.nn.functional.softshrink(scores, threshold) if threshold else scores


def _check_finite(ridge: float) -> None:
    if not 0 <= ridge < math.inf:
        raise InvalidSettingError(f"ridge={ridge} must be a finite number of 0 or more; {DEFAULT_RIDGE:g} is usual.")


def is_dual(feature_map: FeatureMap, n_train: int) -> bool:
    """True where a kernel is cheaper, or only to be had, over train examples rather than over feature dimensions."""
    return not feature_map.is_linear or n_train <= feature_map.width


class CheckpointKernel:
    """The kernel of one checkpoint, and its Cholesky factor at the ridge asked for last.

    A ridge is relative to the mean squared norm of the features. Whatever takes one raises InvalidSettingError where it
    is negative or not finite, and SingularKernelError where the kernel has no inverse with it.

    Args:
        train: features of the train examples in order, in blocks `[n_block, width]`. They are gone through again
            whenever they are needed, so a list, or an object that reads them anew; no generator.
        feature_map: whose inner products rows have.
        dual: True to solve over train examples, which rows without plain inner products need.
    """

    def __init__(self, train: Iterable[Tensor], feature_map: FeatureMap, dual: bool) -> None:
        self._train, self.feature_map, self._is_dual = train, feature_map, dual
        if dual:
            self._matrix = self._with_train(train)  # [n_train, n_train], in the type of the features
            self._n_train = len(self._matrix)
        else:
            self._matrix, self._n_train = _gram(train)
        self._factor: tuple[float, Tensor] | None = None

    @property
    def n_bytes(self) -> int:
        """Memory that the kernel and its factor take, without the rows."""
        return self._matrix.nbytes + (0 if self._factor is None else self._factor[1].nbytes)

    def read(self, rows: Iterable[Tensor]) -> Tensor:
        """What the other functions take of test examples: features in blocks, made one row for each `[m, ...]`."""
        return self._with_train(rows) if self._is_dual else torch.cat(list(rows))

    def attribute(self, test: Tensor, ridge: float) -> Tensor:
        """Attributions `[m, n_train]`, not yet weighted, of test examples as `read` gives them."""
        query = _solve(test, self._factorize(ridge))
        if self._is_dual:
            return query
        found, at = query.new_empty(len(query), self._n_train), 0
        for block in self._train:
            torch.matmul(query, block.T, out=found[:, at : at + len(block)])
            at += len(block)
        return found

    def predict(self, test: Tensor, ridge: float, weighted_masks: Tensor) -> Tensor:
        """Predicted outcomes `[m, n_subsets]`: attributions summed over subsets, without forming them.

        `weighted_masks` `[n_subsets, n_train]` is membership (0 or 1) times the mean q of the example.
        """
        factor = self._factorize(ridge)
        if self._is_dual:
            return test @ _solve(weighted_masks, factor).T.to(test.dtype)
        sums, at = test.new_zeros(len(weighted_masks), test.shape[1]), 0
        for block in self._train:
            sums.addmm_(weighted_masks[:, at : at + len(block)].to(block), block)
            at += len(block)
        return _solve(test, factor) @ sums.T

    def leverages(self, ridge: float) -> Tensor:
        """Leverages of the train examples `[n_train]`, each from 0 to 1."""
        factor = self._factorize(ridge)
        if self._is_dual:
            # The diagonal of K (K + l I)^-1.
            return (torch.cholesky_inverse(factor) * self._matrix).sum(1).to(self._matrix.dtype)
        of_blocks = []
        for block in self._train:
            half = torch.linalg.solve_triangular(factor, block.to(factor.dtype).T, upper=False)
            of_blocks.append((half**2).sum(0).to(block.dtype))
        return torch.cat(of_blocks)

    def solved(self, ridge: float) -> "SolvedKernel":
        """The kernel with its ridge for good, for many small questions."""
        factor, train = self._factorize(ridge), torch.cat(list(self._train))
        if self._is_dual:
            return SolvedKernel(self.feature_map, train, torch.cholesky_inverse(factor).float())
        return SolvedKernel(self.feature_map, None, torch.cholesky_solve(train.to(factor).T, factor).float())

    def factor(self, ridge: float) -> Tensor:
        """Lower Cholesky factor of the kernel with its ridge."""
        return self._factorize(ridge)

    def _with_train(self, rows: Iterable[Tensor]) -> Tensor:
        """Inner products of rows with the train examples `[m, n_train]`."""
        of_each = [
            torch.cat([self.feature_map.inner_products(block, known) for known in self._train], dim=1) for block in rows
        ]
        return of_each[0] if len(of_each) == 1 else torch.cat(of_each)

    def _factorize(self, ridge: float) -> Tensor:
        """Lower Cholesky factor of the matrix plus `ridge * trace / n_train * I`."""
        if self._factor is not None and self._factor[0] == ridge:
            return self._factor[1]
        _check_finite(ridge)
        self._factor = None  # one at a time: they are as large as the kernel
        matrix = self._matrix
        mean_squared_norm = matrix.diagonal().sum() / self._n_train
        # Float32 loses digits as the ridge vanishes beside the largest eigenvalues.
        ridged = matrix.double() if ridge < SAFE_RIDGE and matrix.dtype != torch.float64 else matrix.clone()
        ridged.diagonal().add_(ridge * mean_squared_norm)
        factor, failure = torch.linalg.cholesky_ex(ridged)
        if failure:
            raise SingularKernelError(
                f"the kernel of {self._n_train} train examples with ridge={ridge} (mean squared gradient norm "
                f"{float(mean_squared_norm):.3g}) is not positive definite; use a larger ridge, for example 1."
            )
        self._factor = (ridge, factor)
        return factor  # type: ignore[no-any-return]


def _gram(blocks: Iterable[Tensor]) -> tuple[Tensor, int]:
    """`Phi^T Phi` `[k, k]` float64 of features that come in blocks of rows `[n_block, k]`, and the number of rows."""
    gram, n_train = None, 0
    for rows in blocks:
        product = (rows.T @ rows).double()
        gram = product if gram is None else gram.add_(product)
        n_train += len(rows)
    if gram is None:
        raise InvalidSettingError("a kernel needs at least one train example.")
    return gram, n_train


def _solve(rows: Tensor, factor: Tensor) -> Tensor:
    """Every row `[m, k]` times the inverse of the matrix `[k, k]` that was factorized."""
    return torch.cholesky_solve(rows.to(factor.dtype).T, factor).T.to(rows.dtype)


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
    """The kernels of all `n` checkpoints, each made when it is needed.

    They are kept as long as they and their factors take no more bytes than the budget, beside one that is in use.
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
