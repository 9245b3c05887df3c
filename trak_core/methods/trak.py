"""TRAK with the exact kernel: the same estimator as with features, without a projection.

For one checkpoint, with features Phi `[n_train, k]`, the test feature phi and the ridge l (Park et al. 2023,
arXiv 2303.14186, section 3, with a ridge added):

    phi (Phi^T Phi + l I)^-1 Phi^T  =  k(z) (K + l I)^-1,    K = Phi Phi^T,  k(z) = phi Phi^T

The right side needs inner products of gradients only. When `n_train` is small it is cheaper than a projection and
has no projection noise. Scores are the product of two averages over checkpoints (same section, ensembling):

    scores = [mean over checkpoints of k(z) (K + l I)^-1] * [mean over checkpoints of q]

The ridge is relative: `l = ridge * mean(diag K)`, the mean squared gradient norm, so that one number suits
checkpoints of any scale.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.errors import InvalidSettingError, SingularKernelError

__all__ = ["DualKernel"]


@dataclass(frozen=True)
class DualKernel:
    """The kernel of one checkpoint over the training set.

    Attributes:
        kernel: inner products of the gradients of the train examples `[n_train, n_train]`, float32 or float64.
    """

    kernel: Tensor

    def factorize(self, ridge: float) -> Tensor:
        """Lower Cholesky factor `[n_train, n_train]` of the kernel plus its relative ridge.

        Raises:
            InvalidSettingError: the ridge is negative or not finite.
            SingularKernelError: the sum is not positive definite; a larger ridge makes it so.
        """
        if not 0 <= ridge < float("inf"):
            raise InvalidSettingError(f"ridge={ridge} must be a finite number of 0 or more; 1 is a good start.")
        mean_squared_norm = self.kernel.diagonal().mean()
        ridged = self.kernel.clone()
        ridged.diagonal().add_(ridge * mean_squared_norm)
        factor: Tensor
        factor, failure = torch.linalg.cholesky_ex(ridged)
        if failure:
            raise SingularKernelError(
                f"the kernel of {len(ridged)} train examples with ridge={ridge} (mean squared gradient norm "
                f"{float(mean_squared_norm):.3g}) is not positive definite; use a larger ridge, for example 1."
            )
        return factor

    @staticmethod
    def attribute(test_kernel: Tensor, factor: Tensor) -> Tensor:
        """`k(z) (K + l I)^-1` for every row of `test_kernel` `[m, n_train]`; the result has the same shape."""
        return torch.cholesky_solve(test_kernel.T, factor).T

    @staticmethod
    def predict(test_kernel: Tensor, factor: Tensor, weighted_masks: Tensor) -> Tensor:
        """Predicted outcomes `[m, n_subsets]`: attributions summed over subsets, without forming them.

        Args:
            test_kernel: `[m, n_train]`.
            factor: of `factorize`.
            weighted_masks: `[n_subsets, n_train]`, membership (0 or 1) times the mean q of the example.
        """
        return test_kernel @ torch.cholesky_solve(weighted_masks.T, factor)
