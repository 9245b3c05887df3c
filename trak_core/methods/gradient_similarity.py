"""Plain inner products of gradients: the simplest methods that see the model (methods of Pruthi et al. 2020, TracIn).

With the margin f as the model output of the query and `-q_i grad f_i` the loss gradient of a train example, a step on
that example moves the margin by `q_i grad f_i . grad f` times the learning rate.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from trak_core.gradients import StateDict
from trak_core.methods.context import MethodContext, Need
from trak_core.methods.method import MethodInfo
from trak_core.methods.product import ProductScores, Term
from trak_core.training import Log


def _both(context: MethodContext, weights: StateDict) -> tuple[Tensor, Tensor]:
    """Packed gradients of the test and of the train examples."""
    return (
        context.query_gradients.whole(weights, context.test.inputs, context.test.targets),
        context.gradients.whole(weights, context.train.inputs, context.train.targets),
    )


def _dot(context: MethodContext, weights: StateDict, step_size: float = 1.0) -> Term:
    test, train = _both(context, weights)
    q = context.q(weights) * step_size
    return Term(test, train, q, context.gradients.inner_products, q * context.gradients.squared_norms(train))


@MethodInfo(
    "grad_dot",
    "Gradient dot",
    "How much one more step on a training example would move the answer.",
    needs=(Need.CHECKPOINTS,),
    keeps="packed",
)
def gradient_dot(context: MethodContext) -> ProductScores:
    """Inner products of gradients at the end of training."""
    return ProductScores([_dot(context, weights).settled() for weights in context.states])


@MethodInfo(
    "grad_cos",
    "Gradient cosine",
    "How alike the directions are in which two examples pull the model.",
    needs=(Need.CHECKPOINTS,),
    keeps="packed",
)
def gradient_cosine(context: MethodContext) -> ProductScores:
    """Cosines of gradients at the end of training; the sign of q is kept, its size is not."""
    rows, terms = context.gradients, []

    def cosine(left: Tensor, right: Tensor) -> Tensor:
        # One after the other: the product of two tiny lengths would be 0.
        return rows.inner_products(left[:, :-1], right[:, :-1]) / left[:, -1:] / right[:, -1]

    for weights in context.states:
        test, train = _both(context, weights)
        tiny = torch.finfo(train.dtype).tiny
        # The length of the query scales its whole row, and cosines of several checkpoints must weigh the same.
        query, known = (
            torch.cat([packed, rows.squared_norms(packed).sqrt().clamp_min(tiny)[:, None]], dim=1)
            for packed in (test, train)
        )
        terms.append(Term(query, known, context.q(weights).sign(), cosine).settled())
    return ProductScores(terms)


@MethodInfo(
    "tracin",
    "TracInCP",
    "Gradient products summed over moments of training, weighed by their learning rates.",
    needs=(Need.TRAINING_LOG,),
)
def tracin(context: MethodContext) -> ProductScores:
    """TracInCP: inner products at states along the way, each weighed with its learning rate."""
    # One term a training run, so that the spread between terms is that between runs.
    return ProductScores([_joined(context, _terms_of(context, log)) for log in context.logs])


def _terms_of(context: MethodContext, log: Log) -> list[Term]:
    """One term a recorded state, weighed by the learning rates of the steps that it stands for."""
    starts = [0, *(moment.step for moment in log.ends[:-1])]
    stretches = zip(starts, log.ends, strict=True)
    shares = [log.time(start, moment.step) / len(context.train) for start, moment in stretches]
    return [_dot(context, moment.parameters, share) for moment, share in zip(log.ends, shares, strict=True)]


def _joined(context: MethodContext, terms: Sequence[Term]) -> Term:
    """The sum of terms as one term: rows side by side, weights moved into the train rows' products."""
    widths = [term.query.shape[1] for term in terms]
    weights = torch.stack([term.weight for term in terms])  # [n_terms, n_train]
    train = torch.cat([*(term.train for term in terms if term.train is not None), weights.T], dim=1)
    inner = context.gradients.inner_products
    n_terms = len(terms)

    def summed(left: Tensor, right: Tensor) -> Tensor:
        sizes = right[:, -n_terms:]
        parts = zip(torch.split(left, widths, 1), torch.split(right[:, :-n_terms], widths, 1), sizes.T, strict=True)
        return torch.stack([inner(one, other) * size for one, other, size in parts]).sum(0)

    own = torch.stack([term.own for term in terms if term.own is not None]).sum(0)
    return Term(torch.cat([term.query for term in terms], dim=1), train, torch.ones_like(own), summed, own)
