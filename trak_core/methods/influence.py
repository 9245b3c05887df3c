"""Influence functions with the Gauss-Newton Hessian (Koh and Liang 2017, arXiv 1703.04730), solved in three ways.

    score(z, i) = (1/n) grad f(z)^T (G + damping I)^-1 q_i grad f_i

This is the change of the model output when example i is added once more to a training set of n, to first order, for a
model at the minimum of its training loss. The damping is at least the weight decay of the training, which is part of
that loss. The whole matrix is exact; conjugate gradients reach the same in steps; EK-FAC takes a matrix that is cheap
to invert in its place.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trak_core.curvature import (
    EkfacFactors,
    conjugate_gradients,
    damped_inverse,
    fisher_matrix,
    fit_ekfac,
    gauss_newton_products,
    pseudo_gradients,
    solve_damped,
)
from trak_core.gradients import StateDict, prepared
from trak_core.methods.context import Examples, MethodContext, Need
from trak_core.methods.gradient_rows import NUMBERS_AT_ONCE, plain_rows
from trak_core.methods.method import MethodInfo, ScoreMatrix, choose
from trak_core.methods.product import ProductScores, Term
from trak_core.methods.trak_loop import Average

logger = logging.getLogger(__name__)

LEAST_DAMPING = 1e-3
EKFAC_DAMPINGS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Candidates, relative to the weight decay where there is one, else to a tenth of the mean eigenvalue."""
TOLERANCE = 1e-3
MAX_ITERATIONS = 100


def least_damping(context: MethodContext) -> float:
    """The weight decay of the training, or a little where there was none."""
    return max(context.weight_decay, LEAST_DAMPING)


@MethodInfo(
    "influence_exact",
    "Influence, exact Gauss-Newton",
    "How the answer moves when a training example counts for more, by the whole curvature of the loss.",
    needs=(Need.CHECKPOINTS, Need.LOSS, Need.SMALL_MODEL),
    max_checkpoints=3,
    keeps="flat",
)
def influence_exact(context: MethodContext) -> ProductScores:
    """The whole matrix, for small models."""
    damping = least_damping(context)
    return ProductScores([_exact(context, weights, damping) for weights in context.states], {"damping": damping})


def _exact(context: MethodContext, weights: StateDict, damping: float) -> Term:
    rows = context.gradients
    test = context.query_gradients.flat(weights, context.test.inputs, context.test.targets)
    train = rows.flat(weights, context.train.inputs, context.train.targets)
    matrix = fisher_matrix(_fisher_rows(context, weights), context.n_parameters, len(context.train), like=train)
    solved = solve_damped(matrix, torch.cat([test, train]), damping)
    q = context.q(weights) / len(context.train)
    own = q * (solved[len(test) :] * train).sum(1)
    return Term(solved[: len(test)], train, q, own=own).settled()


def _fisher_rows(context: MethodContext, weights: StateDict) -> Iterator[tuple[Tensor, Tensor]]:
    """Gradients of every part of the curvature, with their weights."""
    computer, train = context.gradients.computer, context.train
    for part in pseudo_gradients(computer, [weights], train.inputs, context.seed, None, targets=train.targets):
        yield plain_rows(part.layers), part.scale**2


@MethodInfo(
    "influence_cg",
    "Influence, conjugate gradients",
    "The same as exact influence, solved step by step without the whole matrix.",
    needs=(Need.CHECKPOINTS, Need.LOSS),
    max_checkpoints=1,
    keeps="flat",
)
def influence_conjugate_gradients(context: MethodContext) -> ProductScores:
    """The same by conjugate gradients, for models of any size."""
    damping = least_damping(context)
    terms, residuals = [], []
    for weights in context.states:
        solved, residual = solve_by_steps(context, weights, context.test, damping)
        train = context.gradients.flat(weights, context.train.inputs, context.train.targets)
        terms.append(Term(solved, train, context.q(weights) / len(context.train)).settled())
        residuals.append(float(residual.max()))
    if max(residuals) > TOLERANCE:
        said = "conjugate gradients stopped after %d steps at a residual of %.2g; more damping helps"
        logger.warning(said, MAX_ITERATIONS, max(residuals))
    return ProductScores(terms, {"damping": damping, "residual": max(residuals)})


def solve_by_steps(
    context: MethodContext, weights: StateDict, examples: Examples, damping: float, tolerance: float = TOLERANCE
) -> tuple[Tensor, Tensor]:
    """`(G + damping I)^-1 grad f` for the examples, as rows in the order of layers, and the residuals reached."""
    rows = context.query_gradients.flat(weights, examples.inputs, examples.targets)
    as_states, as_rows = _between(context, weights)
    architecture, train = context.architecture, context.train
    task = prepared(context.task.curved, architecture, weights)

    def product(vectors: Tensor) -> Tensor:
        moved = gauss_newton_products(architecture, weights, train.inputs, train.targets, task, as_states(vectors))
        return as_rows(moved) + damping * vectors

    return conjugate_gradients(product, rows, tolerance, MAX_ITERATIONS)


def _between(
    context: MethodContext, weights: StateDict
) -> tuple[Callable[[Tensor], StateDict], Callable[[StateDict], Tensor]]:
    """Ways from rows in the order of layers to tensors by name, and back."""
    layers = context.gradients.layers

    def as_states(rows: Tensor) -> StateDict:
        states: StateDict = {}
        for layer, part in zip(layers, torch.split(rows, [layer.size for layer in layers], dim=1), strict=True):
            states |= layer.unflatten(part, weights)
        return states

    def as_rows(states: StateDict) -> Tensor:
        return torch.cat([layer.flatten(states) for layer in layers], dim=1)

    return as_states, as_rows


@MethodInfo(
    "influence_ekfac",
    "Influence, EK-FAC",
    "Influence with a curvature that is taken layer by layer: close to exact, and cheap for large models.",
    needs=(Need.CHECKPOINTS, Need.MATRIX_LAYERS, Need.LOSS),
    max_checkpoints=5,
    keeps="queries",
)
def influence_ekfac(context: MethodContext) -> ScoreMatrix:
    """EK-FAC in place of the whole matrix (George et al. 2018; Grosse et al. 2023, arXiv 2308.03296)."""
    fitted = [_fitted(context, weights) for weights in context.states]
    base = context.weight_decay or 0.1 * sum(map(_mean_eigenvalue, fitted)) / len(fitted)
    dampings = [base] if context.tuning is None else [base * share for share in EKFAC_DAMPINGS]
    of_each: dict[float, list[Tensor]] = {damping: [] for damping in dampings}
    own = {damping: Average() for damping in dampings}
    for factors, weights in zip(fitted, context.states, strict=True):
        for damping, (scores, of_train) in _influence(context, factors, weights, dampings).items():
            of_each[damping].append(scores)
            own[damping].add(of_train)
    found = {damping: ScoreMatrix.mean(scores, {"damping": damping}) for damping, scores in of_each.items()}
    damping = choose(context, dampings, base, lambda damping, masks: found[damping].predict(masks))
    return replace(found[damping], own=own[damping].mean)


def _mean_eigenvalue(factors: EkfacFactors) -> float:
    return sum(each.mean_eigenvalue * each.layer.size for each in factors.layers) / factors.width


def _fitted(context: MethodContext, weights: StateDict) -> EkfacFactors:
    inputs, targets = context.train.inputs, context.train.targets
    return fit_ekfac(context.gradients.computer, [weights], inputs, context.seed, draws=None, targets=targets)


def _influence(
    context: MethodContext, factors: EkfacFactors, weights: StateDict, dampings: Sequence[float]
) -> dict[float, tuple[Tensor, Tensor]]:
    """Scores `[n_test, n_train]` and self-influence `[n_train]` at one checkpoint, for each damping.

    Gradients of train examples come in batches and are let go of, so that memory does not grow with their number.
    """
    test, train, rows = context.test, context.train, context.gradients
    queries = torch.cat(
        [factors.rotate(part.layers) for part in context.query_gradients.batches(weights, test.inputs, test.targets)]
    )
    size, at = max(1, NUMBERS_AT_ONCE // factors.width), 0
    found = {damping: (queries.new_empty(len(test), len(train)), queries.new_empty(len(train))) for damping in dampings}
    for part in rows.batches(weights, train.inputs, train.targets, min(size, context.computing.batch_size)):
        rotated, where = factors.rotate(part.layers), slice(at, at + len(part.q))
        weight = part.q / len(train)
        for damping, (scores, own) in found.items():
            filtered = factors.filter(rotated, damped_inverse(damping))
            scores[:, where] = queries @ filtered.T * weight
            own[where] = weight * (filtered * rotated).sum(1)
        at = where.stop
    return found
