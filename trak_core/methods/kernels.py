"""TRAK for one checkpoint: the ridge kernel over the training set, solved where it is smaller.

With features Phi `[n_train, k]`, a test feature phi and a ridge l (Park et al. 2023, arXiv 2303.14186, section 3, with
a ridge added) the attribution of a test example is

    phi (Phi^T Phi + l I)^-1 Phi^T  =  k(z) (Phi Phi^T + l I)^-1,    k(z) = phi Phi^T

The left side (`PrimalKernel`) works with a matrix `[k, k]`, whatever `n_train` is. The right side (`DualKernel`) needs
inner products only, `[n_train, n_train]` of them: with few training examples it is cheaper, and it can take whole
gradients, without a projection and its noise. Scores are the product of two averages over checkpoints (same section):

    scores = [mean over checkpoints of the attribution] * [mean over checkpoints of q]

The ridge is relative: `l = ridge * trace / n_train`, the mean squared norm of the features, so that one number suits
checkpoints of any scale and both sides. Without it the kernel is singular as soon as `k` reaches `n_train`, and noisy
long before. The self-influence of a train example is its own leverage times its weight.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.errors import AttributionWarning, InvalidSettingError, SingularKernelError

DEFAULT_RIDGE = 3.0
"""Where no retrained models are at hand to choose by: on two reference networks the LDS is flat from 1 to 5, and
falls on both sides."""


RIDGES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Candidates where retrained models are at hand to choose by."""
SAFE_RIDGE = 0.1
"""The smallest ridge that float32 carries without losing digits that matter."""


def check_ridge(ridge: float, n_train: int, proj_dim: int | None, dtype: torch.dtype) -> None:
    """Refuses a ridge that cannot work, and warns of one that hardly does.

    Args:
        ridge: relative to the mean squared gradient norm.
        n_train: number of train examples.
        proj_dim: dimension of the features; None for whole gradients.
        dtype: of the features.

    Raises:
        InvalidSettingError: the ridge is negative or not finite.
        SingularKernelError: the ridge is 0 and the features have at least as many dimensions as there are examples.
    """
    if not 0 <= ridge < math.inf:
        raise InvalidSettingError(f"ridge={ridge} must be a finite number of 0 or more; {DEFAULT_RIDGE:g} is usual.")
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


def _ridged(matrix: Tensor, ridge: float, n_train: int) -> Tensor:
    """Lower Cholesky factor of `matrix + ridge * trace / n_train * I`."""
    if not 0 <= ridge < math.inf:
        raise InvalidSettingError(f"ridge={ridge} must be a finite number of 0 or more; {DEFAULT_RIDGE:g} is usual.")
    mean_squared_norm = matrix.diagonal().sum() / n_train
    # Float32 loses digits as the ridge vanishes beside the largest eigenvalues.
    ridged = matrix.double() if ridge < SAFE_RIDGE and matrix.dtype != torch.float64 else matrix.clone()
    ridged.diagonal().add_(ridge * mean_squared_norm)
    factor, failure = torch.linalg.cholesky_ex(ridged)
    if failure:
        raise SingularKernelError(
            f"the kernel of {n_train} train examples with ridge={ridge} (mean squared gradient norm "
            f"{float(mean_squared_norm):.3g}) is not positive definite; use a larger ridge, for example 1."
        )
    return factor  # type: ignore[no-any-return]


@dataclass(frozen=True)
class PrimalKernel:
    """The kernel of one checkpoint in feature space."""

    gram: Tensor  # `Phi^T Phi` `[k, k]`, float64
    n_train: int  # number of train examples

    @classmethod
    def of(cls, blocks: Iterable[Tensor]) -> "PrimalKernel":
        """The kernel of features that come in blocks of rows `[n_block, k]`."""
        gram, n_train = None, 0
        for rows in blocks:
            product = (rows.T @ rows).double()
            gram = product if gram is None else gram.add_(product)
            n_train += len(rows)
        if gram is None:
            raise InvalidSettingError("a kernel needs at least one train example.")
        return cls(gram, n_train)

    def factorize(self, ridge: float) -> Tensor:
        """Lower Cholesky factor `[k, k]` of the Gram matrix plus its relative ridge.

        Raises:
            InvalidSettingError: the ridge is negative or not finite.
            SingularKernelError: the sum is not positive definite; a larger ridge makes it so.
        """
        return _ridged(self.gram, ridge, self.n_train)

    @staticmethod
    def precondition(rows: Tensor, factor: Tensor) -> Tensor:
        """`phi (Phi^T Phi + l I)^-1` for every row `[m, k]`; its product with train features is the attribution."""
        solved: Tensor = torch.cholesky_solve(rows.to(factor.dtype).T, factor)
        return solved.T.to(rows.dtype)

    @staticmethod
    def leverages(rows: Tensor, factor: Tensor) -> Tensor:
        """`phi_i (Phi^T Phi + l I)^-1 phi_i^T` of train features `[n, k]`: `[n]`, each from 0 to 1."""
        half = torch.linalg.solve_triangular(factor, rows.to(factor.dtype).T, upper=False)
        leverages: Tensor = (half**2).sum(0)
        return leverages.to(rows.dtype)


@dataclass(frozen=True)
class DualKernel:
    """The kernel of one checkpoint over the training set."""

    kernel: Tensor  # inner products of the gradients of the train examples `[n_train, n_train]`, float32 or float64

    def factorize(self, ridge: float) -> Tensor:
        """Lower Cholesky factor `[n_train, n_train]` of the kernel plus its relative ridge.

        Raises:
            InvalidSettingError: the ridge is negative or not finite.
            SingularKernelError: the sum is not positive definite; a larger ridge makes it so.
        """
        return _ridged(self.kernel, ridge, len(self.kernel))

    @staticmethod
    def attribute(test_kernel: Tensor, factor: Tensor) -> Tensor:
        """`k(z) (K + l I)^-1` for every row of `test_kernel` `[m, n_train]`; the result has the same shape."""
        solved: Tensor = torch.cholesky_solve(test_kernel.to(factor.dtype).T, factor)
        return solved.T.to(test_kernel.dtype)

    @staticmethod
    def predict(test_kernel: Tensor, factor: Tensor, weighted_masks: Tensor) -> Tensor:
        """Predicted outcomes `[m, n_subsets]`: attributions summed over subsets, without forming them.

        Args:
            test_kernel: `[m, n_train]`.
            factor: of `factorize`.
            weighted_masks: `[n_subsets, n_train]`, membership (0 or 1) times the mean q of the example.
        """
        solved = torch.cholesky_solve(weighted_masks.to(factor.dtype).T, factor)
        return test_kernel @ solved.to(test_kernel.dtype)

    def leverages(self, factor: Tensor) -> Tensor:
        """Diagonal of `K (K + l I)^-1` `[n_train]`, each from 0 to 1."""
        leverages: Tensor = (torch.cholesky_inverse(factor) * self.kernel).sum(1)
        return leverages.to(self.kernel.dtype)
