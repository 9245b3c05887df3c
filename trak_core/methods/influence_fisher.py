"""Influence with the Fisher matrix of the training set in drawn parts, solved in closed form for models of any size.

    score(z, i) = (1/n) grad f(z)^T (R^T R + damping I)^-1 q_i grad f_i

The rows of R are gradients of drawn parts of the curvature: of labels, or a token at every place, that the model itself
predicts, a few draws for each of the n train examples, scaled so that R^T R is the Gauss-Newton matrix in expectation
(Martens 2020, arXiv 1412.1193, section 5). With K = R R^T, Woodbury's identity

    (R^T R + damping I)^-1 = (I - R^T (K + damping I)^-1 R) / damping

needs nothing as large as the square of the number of parameters, and no iterations (Singh and Alistarh 2020, arXiv
2004.14340, do so with rows of the empirical Fisher matrix). Where a model makes a number for every word at every token,
products with the whole Gauss-Newton matrix cost hours, and these draws minutes.
"""

import math

import torch
from torch import Tensor

from trak_core.curvature import pseudo_gradients
from trak_core.gradients import StateDict
from trak_core.methods.context import BYTES_OF_A_NUMBER, MethodContext, Need
from trak_core.methods.gradient_rows import NUMBERS_AT_ONCE, joined, plain_rows
from trak_core.methods.influence import least_damping
from trak_core.methods.method import MethodInfo, choose
from trak_core.methods.product import ProductScores, Term

MOST_DRAWS = 4
"""Of every train example; more bring little."""
MOST_PASSES = 4
"""Times that gradients are computed, some layers each time, where those of all layers do not fit into memory."""
SHARES = (0.01, 0.1, 1.0)
"""Candidates of the damping, relative to the mean eigenvalue of K, beside the usual one."""


@MethodInfo(
    "influence_fisher",
    "Influence, sampled Fisher",
    "How the answer moves when a training example counts for more, by what the model itself might have answered.",
    needs=(Need.CHECKPOINTS, Need.LOSS, Need.GRADIENT_ROWS),
    max_checkpoints=5,
    keeps="flat",
)
def influence_fisher(context: MethodContext) -> ProductScores:
    """Every candidate damping from the same gradients, and the one that predicts the tuning subsets best."""
    usual = least_damping(context)
    candidates = (0.0,) if context.tuning is None else (0.0, *SHARES)
    of_each: dict[float, list[Term]] = {share: [] for share in candidates}
    for weights in context.states:
        for share, term in _terms(context, weights, usual, candidates).items():
            of_each[share].append(term)
    found = {share: ProductScores(terms, {"damping": usual, "share": share}) for share, terms in of_each.items()}
    return found[choose(context, candidates, 0.0, lambda share, masks: found[share].predict(masks))]


def n_draws(context: MethodContext) -> int:
    """How many parts are drawn for each train example: as many as there is room for beside the gradients."""
    room = MOST_PASSES * context.memory // (BYTES_OF_A_NUMBER * len(context.train) * context.n_parameters) - 1
    return max(1, min(MOST_DRAWS, room))


def layer_groups(context: MethodContext, draws: int) -> list[slice]:
    """Layers, one after another, whose gradients and drawn gradients are in memory together."""
    room = context.memory // (BYTES_OF_A_NUMBER * len(context.train) * (draws + 1))
    starts, size = [0], 0
    for i, layer in enumerate(context.gradients.layers):
        if size and size + layer.size > room:
            starts.append(i)
            size = 0
        size += layer.size
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], None], strict=True)]


def fisher_rows(context: MethodContext, weights: StateDict, draws: int, layers: slice = slice(None)) -> Tensor:
    """R `[n_train * draws, n_parameters]`, or its columns of some layers.

    R^T R is near the Gauss-Newton matrix of the mean training loss.
    """
    train, computer = context.train, context.gradients.computer
    size = max(1, min(context.computing.batch_size, NUMBERS_AT_ONCE // context.n_parameters))
    parts = pseudo_gradients(computer, [weights], train.inputs, context.seed, draws, size, train.targets)
    scale = 1 / math.sqrt(len(train))
    rows = (plain_rows(part.layers[layers]) * (scale * part.scale)[:, None] for part in parts)
    return joined(rows, draws * len(train))


def _terms(
    context: MethodContext, weights: StateDict, usual: float, candidates: tuple[float, ...]
) -> dict[float, Term]:
    """Scores without weights by one checkpoint, for each share of the mean eigenvalue that is added to the damping."""
    train, test, draws = context.train, context.test, n_draws(context)
    products: list[Tensor] = []
    for layers in layer_groups(context, draws):
        gradients = context.gradients.flat(weights, train.inputs, train.targets, layers)
        queries = context.query_gradients.flat(weights, test.inputs, test.targets, layers)
        rows = fisher_rows(context, weights, draws, layers)
        own = gradients.square().sum(1)
        of_layers = [rows @ rows.T, rows @ gradients.T, rows @ queries.T, queries @ gradients.T, own]
        products = [a + b for a, b in zip(products, of_layers, strict=True)] if products else of_layers
        del gradients, queries, rows
    dtype = products[0].dtype
    kernel, of_train, of_test, plain, own = (each.double() for each in products)
    q, trace = context.q(weights) / len(train), float(kernel.diagonal().sum())
    found = {}
    for share in candidates:
        # Below the second term, rounding may take an eigenvalue of K below zero.
        damping = max(usual + share * trace / len(kernel), torch.finfo(dtype).eps * trace)
        damped = kernel.clone()
        damped.diagonal().add_(damping)
        solved = torch.cholesky_solve(of_train, torch.linalg.cholesky(damped))
        scores = ((plain - of_test.T @ solved) / damping).to(q)
        found[share] = Term(scores, None, q, own=q * ((own - (of_train * solved).sum(0)) / damping).to(q))
    return found
