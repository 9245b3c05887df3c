"""LoGra: influence in a small space, each layer projected on both of its sides (Choe et al. 2024, arXiv 2405.13954).

    score(z, i) = (1/n) phi(z)^T (F + damping)^-1 q_i phi_i,    F = (1/n) sum over i of q_i^2 phi_i phi_i^T

with one block of F for each layer. No gradient is ever formed whole, which is what makes it the method for networks of
large Linear layers; `damping` is a share of each block's mean eigenvalue.
"""

import torch

from trak_core.errors import SingularKernelError
from trak_core.gradients import StateDict
from trak_core.methods.context import MethodContext, Need
from trak_core.methods.method import MethodInfo, choose
from trak_core.methods.product import ProductScores, Term
from trak_core.projection import KroneckerMap
from trak_core.seeds import derive_seed

PROJ_DIM = 1024
DAMPINGS = (0.01, 0.1, 1.0, 10.0)
DEFAULT_DAMPING = 0.1


@MethodInfo(
    "logra",
    "LoGra",
    "Influence in a small space: gradients projected layer by layer before they are ever formed.",
    needs=(Need.CHECKPOINTS, Need.MATRIX_LAYERS),
    max_checkpoints=5,
)
def logra(context: MethodContext) -> ProductScores:
    """LoGra over checkpoints, with another projection for each."""
    parts = [_projected(context, weights, number) for number, weights in enumerate(context.states)]

    def scores(damping: float) -> ProductScores:
        return ProductScores([_solved(*part, damping) for part in parts], {"damping": damping})

    return scores(choose(context, DAMPINGS, DEFAULT_DAMPING, lambda damping, masks: scores(damping).predict(masks)))


def _projected(context: MethodContext, weights: StateDict, number: int) -> tuple[Term, list[int]]:
    rows = context.gradients
    feature_map = KroneckerMap(rows.layers, PROJ_DIM, derive_seed(context.seed, "logra", number))
    train, _, q = rows.projected(weights, context.train.inputs, context.train.targets, feature_map)
    test, _, _ = context.query_gradients.projected(weights, context.test.inputs, context.test.targets, feature_map)
    widths = [each.width for each in feature_map.projections.values()]
    if rest := train.shape[1] - sum(widths):
        widths.append(rest)
    return Term(test, train, q / len(context.train)), widths


def _solved(term: Term, widths: list[int], share: float) -> Term:
    """The query times the inverse of the Fisher matrix, block by block."""
    assert term.train is not None
    n = len(term.train)
    q = term.weight * n
    queries, own = [], torch.zeros_like(q)
    for query, train in zip(torch.split(term.query, widths, 1), torch.split(term.train, widths, 1), strict=True):
        scaled = train * (q / n**0.5)[:, None]
        block = scaled.T @ scaled
        if not block.diagonal().any():  # nothing that could be learnt there, and nothing to divide by
            queries.append(torch.zeros_like(query))
            continue
        block.diagonal().add_(share * block.diagonal().mean())
        factor, failure = torch.linalg.cholesky_ex(block.double())
        if failure:
            raise SingularKernelError(
                f"a block of the projected Fisher matrix with damping={share:g} is not positive definite; use a larger "
                "damping."
            )
        queries.append(torch.cholesky_solve(query.double().T, factor).T.to(query))
        own += (torch.cholesky_solve(train.double().T, factor).T.to(train) * train).sum(1)
    return Term(torch.cat(queries, dim=1), term.train, term.weight, own=own * term.weight)
