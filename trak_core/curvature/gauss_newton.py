"""The Gauss-Newton matrix of the mean training loss, whole or by its products with vectors.

With `z` the outputs of a model for example i and `H_i = diag(p) - p p^T` the Hessian of cross-entropy in z,

    G = (1/n) sum over i of J_i^T H_i J_i = (1/n) sum over i, y of p_y q_y^2 grad f_y grad f_y^T

(Schraudolph 2002; the right side is the Fisher matrix, which is the same for cross-entropy, written with gradients of
the margin f_y of class y, because `grad L_y = -q_y grad f_y`.) Weight decay adds its coefficient times the identity.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

from trak_core.errors import SingularKernelError
from trak_core.gradients import OutputsOf, StateDict, outputs_of, run_model

__all__ = ["conjugate_gradients", "fisher_matrix", "gauss_newton_products", "solve_damped"]

VECTORS = 64
"""Vectors that are multiplied at once: enough to keep a processor busy, few enough for activations to fit."""


def fisher_matrix(rows: Iterable[tuple[Tensor, Tensor]], n_parameters: int, n_examples: int, like: Tensor) -> Tensor:
    """The matrix `[n_parameters, n_parameters]` of weighted rows, divided by the number of examples.

    Args:
        rows: blocks of gradients `[n_rows, n_parameters]` of the model output, with weights `p_y q_y^2` `[n_rows]`.
        n_parameters: length of a row.
        n_examples: to divide by.
        like: supplies type and device.
    """
    matrix = like.new_zeros(n_parameters, n_parameters)
    for gradients, weights in rows:
        scaled = gradients * (weights / n_examples).sqrt()[:, None]
        matrix.addmm_(scaled.T, scaled)
    return matrix


def solve_damped(matrix: Tensor, vectors: Tensor, damping: float) -> Tensor:
    """`(matrix + damping I)^-1 v` for every row of `vectors` `[m, n_parameters]`; `matrix` is overwritten.

    Raises:
        SingularKernelError: the sum is not positive definite.
    """
    matrix.diagonal().add_(damping)
    factor, failure = torch.linalg.cholesky_ex(matrix)
    if failure:
        raise SingularKernelError(
            f"the Gauss-Newton matrix of {len(matrix)} parameters with damping={damping:g} is not positive definite; "
            "use a larger damping, for example 0.01."
        )
    solved: Tensor = torch.cholesky_solve(vectors.T, factor)
    return solved.T


def gauss_newton_products(
    architecture: nn.Module,
    weights: StateDict,
    inputs: Tensor,
    loss_of_outputs: Callable[[Tensor], Tensor],
    vectors: StateDict,
    batch_size: int = 512,
    outputs_of: OutputsOf = outputs_of,
) -> StateDict:
    """`G v` for many vectors, without G: forward derivative, Hessian of the loss in the outputs, backward derivative.

    Args:
        architecture: of the model.
        weights: at which G is taken.
        inputs: of the train examples `[n, ...]`.
        loss_of_outputs: mean-free loss of outputs `[n_outputs]` of one example whose Hessian does not depend on labels.
        vectors: name to `[m, *shape]`.
        batch_size: examples at once.
        outputs_of: reads the outputs of the model; that of the task.
    """
    names = list(vectors)
    products = {name: torch.zeros_like(value) for name, value in vectors.items()}
    fixed = {name: value for name, value in weights.items() if name not in vectors}
    at = {name: weights[name] for name in names}
    curvature = vmap(torch.func.hessian(loss_of_outputs))
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]

        def outputs(parameters: StateDict, batch: Tensor = batch) -> Tensor:
            return run_model(architecture, {**fixed, **parameters}, batch, outputs_of)

        given, back = vjp(outputs, at)[:2]
        hessians = curvature(given)  # [n, n_outputs, n_outputs]

        def product(vector: StateDict) -> StateDict:
            moved = jvp(outputs, (at,), (vector,))[1]
            turned = torch.einsum("nij,nj->ni", hessians, moved) / len(inputs)  # noqa: B023
            return back(turned)[0]  # type: ignore[no-any-return]  # noqa: B023

        some = vmap(product, chunk_size=VECTORS)(vectors)
        for name in names:
            products[name] += some[name]
    return products


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], vectors: Tensor, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """`A^-1 v` for every row of `vectors` `[m, p]` at once, A symmetric and positive definite (Hestenes, Stiefel 1952).

    Args:
        product: gives `A x` for rows `[m, p]`.
        vectors: right-hand sides.
        tolerance: norm of the residual relative to that of its vector at which a row is done.
        max_iterations: products to take at most.

    Returns:
        The solutions `[m, p]` and the relative residuals `[m]` that were reached.
    """
    solution = torch.zeros_like(vectors)
    residual = vectors.clone()
    direction = residual.clone()
    squared = (residual**2).sum(1)
    start = squared.clamp_min(torch.finfo(vectors.dtype).tiny)
    for _ in range(max_iterations):
        if math.sqrt(float((squared / start).max())) <= tolerance:
            break
        moved = product(direction)
        curvature = (direction * moved).sum(1)
        # A row that is done has a direction of zero; it stays where it is.
        step = torch.where(curvature > 0, squared / curvature.clamp_min(torch.finfo(vectors.dtype).tiny), 0)
        solution += step[:, None] * direction
        residual -= step[:, None] * moved
        before, squared = squared, (residual**2).sum(1)
        direction = residual + (squared / before.clamp_min(torch.finfo(vectors.dtype).tiny))[:, None] * direction
    return solution, (squared / start).sqrt()
