"""The Gauss-Newton matrix of the mean training loss: whole, by its products with vectors, or as squares of gradients.

With `z` the outputs of a model for example i, J_i their derivative in the weights and H_i the Hessian of the loss in z,

    G = (1/n) sum over i of J_i^T H_i J_i

(Schraudolph 2002.) The task knows H, as parts that gradients are taken of and by its products with vectors (see
`trak_core/tasks/curvature.py`). Weight decay adds its coefficient times the identity.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

from trak_core.errors import NonFiniteGradientError, SingularKernelError
from trak_core.gradients import GradientComputer, Inputs, LayerGradients, StateDict, count, run_model, take
from trak_core.gradients.directional import forward_derivatives
from trak_core.seeds import derive_seed
from trak_core.tasks import Task

VECTORS = 64
"""Vectors that are multiplied at once: enough to keep a processor busy, few enough for activations to fit."""
NUMBERS_AT_ONCE = 2**25
"""Of outputs that are held at once, each counted for every vector; several tensors have as many."""


@dataclass(frozen=True)
class PseudoGradients:
    """Gradients of one part of the curvature of n examples."""

    layers: Sequence[LayerGradients]  # gradients, layer by layer
    scale: Tensor  # factors `[n]`
    is_first: bool  # False where the same examples came before with other parts, and so with the same activations


def pseudo_gradients(
    computer: GradientComputer,
    weights: Sequence[StateDict],
    inputs: Inputs,
    seed: int,
    draws: int | None,
    batch_size: int = 512,
    targets: Tensor | None = None,
) -> Iterator[PseudoGradients]:
    """For every example and checkpoint, gradients whose `scale^2 g g^T` add up to its curvature.

    Arguments and errors are those of `fit_ekfac`.
    """
    n = count(inputs)
    for i, state in enumerate(weights):
        ready = computer.prepared(state)
        generator = torch.Generator().manual_seed(derive_seed(seed, i))
        uniform = torch.rand(n, generator=generator, dtype=torch.float64)
        for start in range(0, n, batch_size):
            where = slice(start, min(n, start + batch_size))
            batch = take(inputs, where)
            outputs = ready.outputs(state, batch)
            if not outputs.isfinite().all():
                raise NonFiniteGradientError(
                    f"the model's outputs at checkpoint {i} are not finite for examples {start} to "
                    f"{where.stop - 1}, so there is no curvature to fit; leave the checkpoint out, or use "
                    "precision='float64'."
                )
            target = None if targets is None else targets[where]
            for j, part in enumerate(ready.task.curvature(outputs, target, draws, uniform[where])):
                gradients = ready.with_task(part.task).compute(state, batch, part.target)
                yield PseudoGradients(gradients.layers, part.scale, j == 0)


def fisher_matrix(rows: Iterable[tuple[Tensor, Tensor]], n_parameters: int, n_examples: int, like: Tensor) -> Tensor:
    """The matrix `[n_parameters, n_parameters]` of weighted rows, divided by the number of examples.

    `rows` are blocks of gradients `[n_rows, n_parameters]` of parts of the curvature, with weights `[n_rows]`; `like`
    supplies type and device.
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
    inputs: Inputs,
    targets: Tensor,
    task: Task,
    vectors: StateDict,
    batch_size: int = 512,
) -> StateDict:
    """`G v` for many vectors, without G: forward derivative, Hessian of the loss in the outputs, backward derivative.

    Args:
        architecture: of the model.
        weights: at which G is taken.
        inputs: of the n train examples.
        targets: that the model was trained on `[n, ...]`.
        task: whose loss it was, made ready for these weights.
        vectors: name to `[m, *shape]`.
        batch_size: examples at once.
    """
    products = {name: torch.zeros_like(value) for name, value in vectors.items()}
    fixed = {name: value for name, value in weights.items() if name not in vectors}
    at = {name: weights[name] for name in vectors}
    n = count(inputs)
    # Outputs as wide as a vocabulary for every token are held once for each vector.
    width = run_model(architecture, weights, take(inputs, slice(1)), task.outputs_of).numel()
    at_once = min(VECTORS, len(next(iter(vectors.values()))))
    batch_size = max(1, min(batch_size, NUMBERS_AT_ONCE // (width * at_once)))
    for start in range(0, n, batch_size):
        where = slice(start, start + batch_size)
        batch, target = take(inputs, where), targets[where]

        def outputs(parameters: StateDict, batch: Inputs = batch) -> Tensor:
            return run_model(architecture, {**fixed, **parameters}, batch, task.outputs_of)

        with forward_derivatives("influence_cg"):
            given, back = vjp(outputs, at)[:2]

            def product(vector: StateDict) -> StateDict:
                moved = jvp(outputs, (at,), (vector,))[1]
                turned = task.curvature_product(given, target, moved) / n  # noqa: B023
                return back(turned)[0]  # type: ignore[no-any-return]  # noqa: B023

            some = vmap(product, chunk_size=VECTORS)(vectors)
        for name, part in some.items():
            products[name] += part
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
    tiny = torch.finfo(vectors.dtype).tiny
    solution = torch.zeros_like(vectors)
    residual = vectors.clone()
    direction = residual.clone()
    squared = (residual**2).sum(1)
    start = squared.clamp_min(tiny)
    for _ in range(max_iterations):
        if math.sqrt(float((squared / start).max())) <= tolerance:
            break
        moved = product(direction)
        curvature = (direction * moved).sum(1)
        # A row that is done has a direction of zero; it stays where it is.
        step = torch.where(curvature > 0, squared / curvature.clamp_min(tiny), 0)
        solution += step[:, None] * direction
        residual -= step[:, None] * moved
        before, squared = squared, (residual**2).sum(1)
        direction = residual + (squared / before.clamp_min(tiny))[:, None] * direction
    return solution, (squared / start).sqrt()
