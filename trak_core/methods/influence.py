"""Influence functions with the Gauss-Newton Hessian (Koh and Liang 2017, arXiv 1703.04730), solved in three ways.

    score(z, i) = (1/n) grad f(z)^T (G + damping I)^-1 q_i grad f_i

This is the change of the model output when example i is added once more to a training set of n, to first order, for a
model at the minimum of its training loss. The damping is at least the weight decay of the training, which is part of
that loss. The whole matrix is exact; conjugate gradients reach the same in steps; EK-FAC takes a matrix that is cheap
to invert in its place.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.curvature import (
    EkfacFactors,
    conjugate_gradients,
    damped_inverse,
    fisher_matrix,
    fit_ekfac,
    gauss_newton_products,
    solve_damped,
)
from trak_core.gradients import StateDict
from trak_core.methods.material import Examples, Material, Need
from trak_core.methods.method import MethodInfo, choose
from trak_core.methods.product import ProductScores, Term

__all__ = ["InfluenceConjugateGradients", "InfluenceEkfac", "InfluenceExact", "rotated_term"]

logger = logging.getLogger(__name__)

LEAST_DAMPING = 1e-3
EKFAC_DAMPINGS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Candidates, relative to the weight decay where there is one, else to a tenth of the mean eigenvalue."""
TOLERANCE = 1e-3
MAX_ITERATIONS = 100


def _damping(material: Material) -> float:
    return max(material.weight_decay, LEAST_DAMPING)


@dataclass(frozen=True)
class InfluenceExact:
    """The whole matrix, for small models."""

    info = MethodInfo(
        "influence_exact",
        "Influence, exact Gauss-Newton",
        "How the answer moves when a training example counts for more, by the whole curvature of the loss.",
        needs=(Need.CHECKPOINTS, Need.CLASSES, Need.SMALL_MODEL),
        max_checkpoints=3,
    )

    def fit(self, material: Material) -> ProductScores:
        """As in `Method`."""
        damping = _damping(material)
        return ProductScores([_exact(material, w, damping) for w in material.states], settings={"damping": damping})


def _exact(material: Material, weights: StateDict, damping: float) -> Term:
    rows = material.gradients
    test = rows.flat(weights, material.test.inputs, material.test.asked)
    train = rows.flat(weights, material.train.inputs, material.train.asked)
    matrix = fisher_matrix(_fisher_rows(material, weights), material.n_parameters, len(material.train), like=train)
    solved = solve_damped(matrix, torch.cat([test, train]), damping)
    q = material.q(weights, material.train) / len(material.train)
    own = q * (solved[len(test) :] * train).sum(1)
    return Term(solved[: len(test)], train, q, own=own)


def _fisher_rows(material: Material, weights: StateDict) -> Iterator[tuple[Tensor, Tensor]]:
    """Gradients of the margins of every class with their weights, class by class."""
    outputs = material.outputs(weights, material.train.inputs)
    p = outputs.softmax(-1)
    for asked in range(outputs.shape[1]):
        classes = torch.full_like(material.train.asked, asked)
        q = material.task.out_to_loss(outputs, classes)
        yield material.gradients.flat(weights, material.train.inputs, classes), p[:, asked] * q**2


@dataclass(frozen=True)
class InfluenceConjugateGradients:
    """The same by conjugate gradients, for models of any size."""

    info = MethodInfo(
        "influence_cg",
        "Influence, conjugate gradients",
        "The same as exact influence, solved step by step without the whole matrix.",
        needs=(Need.CHECKPOINTS, Need.CLASSES),
        max_checkpoints=1,
    )

    def fit(self, material: Material) -> ProductScores:
        """As in `Method`."""
        damping = _damping(material)
        terms, residuals = [], []
        for weights in material.states:
            solved, residual = solve_by_steps(material, weights, material.test, damping)
            train = material.gradients.flat(weights, material.train.inputs, material.train.asked)
            q = material.q(weights, material.train) / len(material.train)
            terms.append(Term(solved, train, q))
            residuals.append(float(residual.max()))
        if max(residuals) > TOLERANCE:
            logger.warning(
                "conjugate gradients stopped after %d steps at a residual of %.2g; more damping helps",
                MAX_ITERATIONS,
                max(residuals),
            )
        return ProductScores(terms, settings={"damping": damping, "residual": max(residuals)})


def solve_by_steps(
    material: Material, weights: StateDict, examples: Examples, damping: float, tolerance: float = TOLERANCE
) -> tuple[Tensor, Tensor]:
    """`(G + damping I)^-1 grad f` for the examples, as rows in the order of layers, and the residuals reached."""
    rows = material.gradients.flat(weights, examples.inputs, examples.asked)
    as_states, as_rows = _between(material, weights)

    def loss(outputs: Tensor) -> Tensor:
        return outputs.logsumexp(-1)  # cross-entropy, but for a part that is linear in the outputs

    def product(vectors: Tensor) -> Tensor:
        moved = gauss_newton_products(
            material.architecture,
            weights,
            material.train.inputs,
            loss,
            as_states(vectors),
            outputs_of=material.gradients.computer.outputs_of,
        )
        return as_rows(moved) + damping * vectors

    return conjugate_gradients(product, rows, tolerance, MAX_ITERATIONS)


def _between(
    material: Material, weights: StateDict
) -> tuple[Callable[[Tensor], StateDict], Callable[[StateDict], Tensor]]:
    """Ways from rows in the order of layers to tensors by name, and back."""
    layers = material.gradients.layers

    def as_states(rows: Tensor) -> StateDict:
        states: StateDict = {}
        for layer, part in zip(layers, torch.split(rows, [layer.size for layer in layers], dim=1), strict=True):
            states |= layer.unflatten(part, weights)
        return states

    def as_rows(states: StateDict) -> Tensor:
        return torch.cat([layer.flatten(states) for layer in layers], dim=1)

    return as_states, as_rows


@dataclass(frozen=True)
class InfluenceEkfac:
    """EK-FAC in place of the whole matrix (George et al. 2018; Grosse et al. 2023, arXiv 2308.03296)."""

    info = MethodInfo(
        "influence_ekfac",
        "Influence, EK-FAC",
        "Influence with a curvature that is taken layer by layer: close to exact, and cheap for large models.",
        needs=(Need.CHECKPOINTS, Need.MATRIX_LAYERS),
        max_checkpoints=5,
    )

    def fit(self, material: Material) -> ProductScores:
        """As in `Method`."""
        parts = [_rotated(material, weights) for weights in material.states]
        base = material.weight_decay or 0.1 * sum(_mean_eigenvalue(factors) for factors, _ in parts) / len(parts)
        foretold: dict[float, Tensor] = {}
        if material.tuning is not None:
            for share in EKFAC_DAMPINGS:
                terms = [rotated_term(factors, term, base * share) for factors, term in parts]
                foretold[base * share] = ProductScores(terms).predict(material.tuning.masks)
        damping = choose(material, foretold, base)
        terms = [rotated_term(factors, term, damping) for factors, term in parts]
        return ProductScores(terms, settings={"damping": damping})


def _mean_eigenvalue(factors: EkfacFactors) -> float:
    return sum(each.mean_eigenvalue * each.layer.size for each in factors.layers) / factors.width


def _rotated(material: Material, weights: StateDict) -> tuple[EkfacFactors, Term]:
    rows = material.gradients
    factors = fit_ekfac(rows.computer, [weights], material.train.inputs, material.seed, draws=None)
    test, train = (
        torch.cat([factors.rotate(part.layers) for part in rows.batches(weights, examples.inputs, examples.asked)])
        for examples in (material.test, material.train)
    )
    return factors, Term(test, train, material.q(weights, material.train) / len(material.train))


def rotated_term(factors: EkfacFactors, term: Term, damping: float) -> Term:
    """A term in the eigenbasis with its query divided by eigenvalues plus damping."""
    assert term.train is not None
    inverse = damped_inverse(damping)
    own = term.weight * (factors.filter(term.train, inverse) * term.train).sum(1)
    return Term(factors.filter(term.query, inverse), term.train, term.weight, own=own)
