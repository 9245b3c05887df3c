"""EK-FAC: the Gauss-Newton matrix of a network, layer by layer, in a basis where it is nearly diagonal.

For a layer whose gradient is a matrix `dW = sum over positions t of delta_t a_t^T` (George et al. 2018, arXiv
1806.03884; for influence functions Grosse et al. 2023, arXiv 2308.03296)

    A = E[a a^T],  G = E[delta delta^T],  Q_A and Q_G their eigenvectors,  Lambda = E[(Q_G^T dW Q_A)^2]
    F(H) dW = Q_G (F(Lambda) * (Q_G^T dW Q_A)) Q_A^T                              for any function F of eigenvalues

A and G weigh every position of every example alike; only their eigenvectors count, so their scale does not. Lambda is
a mean over examples of whole gradients, all positions summed. Several checkpoints are averaged as SOURCE does it (Bae
et al. 2024, arXiv 2405.12186, appendix D.2): A and G over all of them, then Lambda over all of them in the one basis.

The expectation is over inputs and over the parts of the curvature of the loss that the task gives (see
`trak_core/tasks/curvature.py`): for cross-entropy that is the true Fisher matrix, over labels that the model itself
predicts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trak_core.curvature.gauss_newton import PseudoGradients, pseudo_gradients
from trak_core.errors import EmptyDataError, InvalidSettingError, NonFiniteGradientError
from trak_core.gradients import (
    ExplicitGradients,
    GradientComputer,
    Inputs,
    Layer,
    LayerGradients,
    OuterProducts,
    StateDict,
    count,
    form,
)
from trak_core.seeds import derive_seed

Function = Callable[[Tensor], Tensor]
"""A function F of the eigenvalues `[n_rows, n_columns]` of one layer, of the same shape."""


def damped_inverse(damping: float) -> Function:
    """The function `1 / (s + damping)` of eigenvalues s, for `EkfacFactors`.

    Where eigenvalue and damping are both 0 it gives 0, as a pseudo-inverse does.

    Raises:
        InvalidSettingError: the damping is negative or not finite.
    """
    if not 0 <= damping < math.inf:
        raise InvalidSettingError(
            f"damping={damping} must be a finite number of 0 or more; a tenth of the mean eigenvalue is usual."
        )
    return lambda eigenvalues: torch.where(eigenvalues + damping > 0, 1 / (eigenvalues + damping), 0)


@dataclass(frozen=True)
class EkfacLayer:
    """The curvature of one layer."""

    layer: Layer  # the layer
    rows: Tensor | None  # Q_G `[n_rows, n_rows]`, one eigenvector a column; None where the curvature is a diagonal
    # Q_A `[n_columns, n_columns]`, the bias last among the inputs; None where the curvature is a diagonal
    columns: Tensor | None
    eigenvalues: Tensor  # Lambda `[n_rows, n_columns]`

    @property
    def mean_eigenvalue(self) -> float:
        """Mean of the eigenvalues."""
        return float(self.eigenvalues.mean())

    def rotate(self, gradients: LayerGradients) -> Tensor:
        """Gradients of n examples in the eigenbasis, `Q_G^T dW Q_A`: `[n, n_rows, n_columns]`."""
        if self.rows is None or self.columns is None:
            return _matrices(gradients)
        if not isinstance(gradients, OuterProducts) or gradients.deltas.shape[1] > 1:
            return self.rows.T @ (_matrices(gradients) @ self.columns)
        # Each side is turned before or after the sum over positions, whichever is less work.
        n_positions = gradients.deltas.shape[2]
        rows_first, columns_first = n_positions <= self.layer.n_columns, n_positions <= self.layer.n_rows
        deltas = gradients.deltas[:, 0] @ self.rows if rows_first else gradients.deltas[:, 0]
        activations = gradients.activations_times(self.columns) if columns_first else gradients.activations()
        rotated = deltas.transpose(1, 2) @ activations[:, 0]
        if not columns_first:
            rotated = rotated @ self.columns
        return rotated if rows_first else self.rows.T @ rotated

    def rotate_back(self, rotated: Tensor) -> Tensor:
        """From the eigenbasis back, `Q_G R Q_A^T`: `[n, n_rows, n_columns]`."""
        return rotated if self.rows is None or self.columns is None else self.rows @ (rotated @ self.columns.T)

    def squares(self, gradients: LayerGradients, weights: Tensor) -> Tensor:
        """Squares of the rotated gradients, summed over n examples with weights `[n]`: `[n_rows, n_columns]`."""
        if isinstance(gradients, OuterProducts) and gradients.is_single and self.rows is not None:
            assert self.columns is not None
            # The square of an outer product is the outer product of the squares.
            deltas = (gradients.deltas[:, 0, 0] @ self.rows).square_() * weights[:, None]
            return deltas.T @ gradients.activations_times(self.columns)[:, 0, 0].square()
        rotated = self.rotate(gradients).flatten(1)
        return (weights @ rotated.square()).reshape(self.eigenvalues.shape)


@dataclass(frozen=True)
class EkfacFactors:
    """The curvature of a network: a block for each layer, none between layers.

    Rows of gradients are `[n, n_parameters]`: layer after layer, and inside a layer its matrix row by row, the order
    of `trak_core/gradients/layers.py`.
    """

    layers: tuple[EkfacLayer, ...]  # in that order

    @property
    def width(self) -> int:
        """Length of a row, the number of parameters."""
        return sum(each.layer.size for each in self.layers)

    def rotate(self, gradients: Sequence[LayerGradients]) -> Tensor:
        """Rows `[n, n_parameters]` of the gradients of n examples, in the eigenbasis."""
        like = gradients[0].like
        rows = like.new_empty(len(like), self.width)
        for each, given, part in zip(self.layers, gradients, self._parts(rows), strict=True):
            part.copy_(each.rotate(given).flatten(1))
        return rows

    def rotate_rows(self, rows: Tensor) -> Tensor:
        """The same for gradients that are rows `[n, n_parameters]` already."""
        parts = zip(self.layers, self._parts(rows), strict=True)
        return self.rotate([ExplicitGradients(each.layer, part) for each, part in parts])

    def rotate_back(self, rotated: Tensor) -> Tensor:
        """Rows `[n, n_parameters]` in the basis of the parameters from rows in the eigenbasis."""
        rows = torch.empty_like(rotated)
        for each, given, part in zip(self.layers, self._parts(rotated), self._parts(rows), strict=True):
            part.copy_(each.rotate_back(given.reshape(-1, *each.eigenvalues.shape)).flatten(1))
        return rows

    def filter(self, rotated: Tensor, function: Function) -> Tensor:
        """`F(Lambda) * R` for rows in the eigenbasis `[n, n_parameters]`, which they stay in."""
        return rotated * torch.cat([function(each.eigenvalues).flatten() for each in self.layers])

    def score(self, queries: Tensor, gradients: Sequence[LayerGradients], q: Tensor) -> Tensor:
        """Influence of n train examples on m queries, `q_i * grad f_q^T F(H) grad f_i`: `[m, n]`.

        With F an inverse it is positive where the train example raises the margin of the query: its loss gradient is
        `-q_i grad f_i`, and influence is `-grad f^T H^-1 grad L` (Koh and Liang 2017, arXiv 1703.04730, equation 2),
        here without the factor 1 / n_train.

        `queries` `[m, n_parameters]` are gradients in the eigenbasis, filtered. Those of the train examples, whose
        weights are q `[n]`, are turned one layer at a time, so that whole rows of them never lie in memory.
        """
        scores = queries.new_zeros(len(queries), len(q))
        for each, given, part in zip(self.layers, gradients, self._parts(queries), strict=True):
            scores.addmm_(part, each.rotate(given).flatten(1).T)
        return scores.mul_(q)

    def _parts(self, rows: Tensor) -> tuple[Tensor, ...]:
        return torch.split(rows, [each.layer.size for each in self.layers], dim=1)


@torch.inference_mode(False)
@torch.no_grad()
def fit_ekfac(
    computer: GradientComputer,
    weights: Sequence[StateDict],
    inputs: Inputs,
    seed: int,
    draws: int | None = 1,
    batch_size: int = 512,
    targets: Tensor | None = None,
) -> EkfacFactors:
    """Fits the curvature on some examples.

    Linear and Conv layers get EK-FAC. Embeddings, norm layers and parameters of any other kind get the diagonal of the
    Fisher matrix, `E[g^2]`; gradients of an Embedding are formed whole, so large ones are better not selected. Where
    gradients of a Linear or Conv layer come without their factors (in any other way than by hooks), `E[dW^T dW]` and
    `E[dW dW^T]` stand for A and G: another basis, for which Lambda is as right.

    Args:
        computer: of gradients, its way chosen, in float32 or float64. The factors have its type and the device of the
            weights; eigenvectors are computed in float64.
        weights: the checkpoints to average over; one is plain EK-FAC.
        inputs: the examples, usually those trained on, on the device of the weights.
        seed: of the draws, which do not depend on the batch that an example comes in.
        draws: parts of the curvature drawn for each example and checkpoint, apart for the basis and for the
            eigenvalues. None takes every part: nothing is left to chance, at the cost of as many gradients as there are
            parts, which are classes for classification. Regression has one part.
        batch_size: the most examples at once.
        targets: what the model was trained on `[n, ...]`; not needed where the curvature does not depend on it, as
            for classification and regression.

    Raises:
        InvalidSettingError: there are no checkpoints, or a number is less than 1.
        NeedNotMetError: the task has no loss, or needs targets.
        EmptyDataError: there are no examples.
        NoLogitsError: the model does not return what the task needs.
        NonFiniteGradientError: an output or a gradient is NaN or infinite.
    """
    if isinstance(weights, dict):
        raise InvalidSettingError("weights is a dict; give a list of state dicts, with a single one in [ ].")
    numbers = {"draws": 1 if draws is None else draws, "batch_size": batch_size, "number of checkpoints": len(weights)}
    for name, number in numbers.items():
        if number < 1:
            raise InvalidSettingError(f"{name}={number}; fitting the curvature takes at least 1.")
    if count(inputs) == 0:
        raise EmptyDataError("there are no examples to fit the curvature on.")

    def gradients_for(step: str) -> Iterator[PseudoGradients]:
        own_seed = derive_seed(seed, "ekfac", step)
        return pseudo_gradients(computer, weights, inputs, own_seed, draws, batch_size, targets)

    bases = [_Basis(layer) for layer in computer.layers]
    for given in gradients_for("basis"):
        for basis, gradients in zip(bases, given.layers, strict=True):
            basis.add(gradients, given.scale, given.is_first)
    layers = [basis.decompose(computer.dtype) for basis in bases]
    sums = [torch.zeros_like(each.eigenvalues, dtype=torch.float64) for each in layers]
    for given in gradients_for("eigenvalues"):
        for each, part, gradients in zip(layers, sums, given.layers, strict=True):
            part += each.squares(gradients, given.scale**2)
    total, fitted = count(inputs) * len(weights), []
    for each, part in zip(layers, sums, strict=True):
        _check_finite(part, each.layer)
        fitted.append(replace(each, eigenvalues=(part / total).to(computer.dtype)))
    return EkfacFactors(tuple(fitted))


class _Basis:
    """Sums of `a a^T` and `delta delta^T` for one layer, over positions, examples and checkpoints; in float64.

    A layer that EK-FAC cannot treat has no sums.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.device = torch.device("cpu")
        self.of_rows: Tensor | int = 0
        self.of_columns: Tensor | int = 0

    def add(self, gradients: LayerGradients, scale: Tensor, with_columns: bool) -> None:
        """Adds the gradients of a batch, those of its outputs multiplied with `scale` `[n]`."""
        self.device = gradients.like.device
        if self.layer.kind != "matrix":
            return
        if isinstance(gradients, OuterProducts):
            scaled = gradients.deltas * scale[:, None, None, None]
            rows = scaled.transpose(1, 2).reshape(-1, self.layer.n_rows)  # the groups of a Conv layer side by side
            columns = gradients.activations().reshape(-1, self.layer.n_columns) if with_columns else None
        else:
            matrices = _matrices(gradients) * scale[:, None, None]
            rows = matrices.transpose(1, 2).reshape(-1, self.layer.n_rows)
            columns = matrices.reshape(-1, self.layer.n_columns)
        self.of_rows = self.of_rows + (rows.T @ rows).double()
        if columns is not None:
            self.of_columns = self.of_columns + (columns.T @ columns).double()

    def decompose(self, dtype: torch.dtype) -> EkfacLayer:
        """The layer with its eigenvectors, and no eigenvalues yet."""
        zeros = torch.zeros(self.layer.n_rows, self.layer.n_columns, dtype=dtype, device=self.device)
        if isinstance(self.of_rows, int) or isinstance(self.of_columns, int):
            return EkfacLayer(self.layer, None, None, zeros)
        for total in (self.of_rows, self.of_columns):
            _check_finite(total, self.layer)
        rows, columns = (torch.linalg.eigh(total)[1].to(dtype) for total in (self.of_rows, self.of_columns))
        return EkfacLayer(self.layer, rows, columns, zeros)


def _check_finite(values: Tensor, layer: Layer) -> None:
    if not values.isfinite().all():
        raise NonFiniteGradientError(
            f"gradients of layer {layer.name!r} are not finite or too large to square, so there is no curvature to "
            "fit; use precision='float64', or leave the checkpoint out."
        )


def _matrices(gradients: LayerGradients) -> Tensor:
    """Gradients of n examples, formed: `[n, n_rows, n_columns]`."""
    layer = gradients.layer
    if isinstance(gradients, OuterProducts) and gradients.deltas.shape[1] == 1:
        return gradients.deltas[:, 0].transpose(1, 2) @ gradients.activations()[:, 0]
    rows = gradients.values if isinstance(gradients, ExplicitGradients) else form(gradients).T
    return rows.reshape(-1, layer.n_rows, layer.n_columns)
