"""SOURCE: influence through training in segments (Bae et al. 2024, arXiv 2405.12186, equation 24).

Training is cut into segments. In each, the Hessian and the gradients are taken to be constant, the means over the
states recorded in it, so that the steps of a segment have a closed form. With K steps of mean learning rate eta in a
segment,

    scores += (1/n) g^T F_r(H) q_i grad f_i,    g <- F_S(H) g        from the last segment to the first, g = grad f(z)
    F_S(s) = exp(-eta K s),    F_r(s) = (1 - exp(-eta K s)) / s

Momentum makes every step 1 / (1 - momentum) times as long; weight decay adds its coefficient to every eigenvalue. With
one segment, F_r(s) is nearly 1 / (s + 1 / (eta K)): influence with a damping that the training itself supplies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.curvature import fit_ekfac
from trak_core.methods.context import MethodContext, Need
from trak_core.methods.method import MethodInfo, ScoreMatrix
from trak_core.training import Log, Moment

N_SEGMENTS = 3
Function = Callable[[Tensor], Tensor]


@MethodInfo(
    "source",
    "SOURCE",
    "Influence followed back through training, in three stretches with a curvature of their own.",
    needs=(Need.TRAINING_LOG, Need.MATRIX_LAYERS, Need.LOSS),
    max_checkpoints=5,
)
def source(context: MethodContext) -> ScoreMatrix:
    """SOURCE with EK-FAC curvature, averaged over training runs."""
    of_each = [source_scores(context, log, N_SEGMENTS) for log in context.logs]
    return ScoreMatrix.mean(of_each, {"segments": N_SEGMENTS})


@dataclass(frozen=True)
class Segment:
    """A stretch of training."""

    moments: Sequence[Moment]  # states recorded in it, its end included and its start not
    time: float  # sum of its learning rates, in steps that momentum has made their full length


def segments(log: Log, n_segments: int) -> list[Segment]:
    """Training cut into stretches with as many recorded states each; fewer stretches where there are fewer states."""
    ends = log.ends
    n_segments = min(n_segments, len(ends))
    size = len(ends) // n_segments
    found, start = [], 0
    for number in range(n_segments):
        moments = ends[number * size : None if number == n_segments - 1 else (number + 1) * size]
        found.append(Segment(moments, log.time(start, moments[-1].step)))
        start = moments[-1].step
    return found


def survival(time: float, decay: float) -> Function:
    """F_S: the share of a change at the start of a segment that is left at its end."""
    return lambda eigenvalues: torch.exp(-time * (eigenvalues + decay))


def response(time: float, decay: float) -> Function:
    """F_r: how far a constant push during a segment moves the weights; `time` where the curvature is 0."""

    def function(eigenvalues: Tensor) -> Tensor:
        curvature = eigenvalues + decay
        moved = -torch.expm1(-time * curvature) / curvature.clamp_min(torch.finfo(curvature.dtype).tiny)
        return torch.where(curvature * time > 1e-6, moved, torch.full_like(moved, time))

    return function


def source_scores(context: MethodContext, log: Log, n_segments: int) -> Tensor:
    """Scores `[n_test, n_train]` of one training run."""
    rows, decay = context.gradients, log.weight_decay
    queries = context.query_gradients.flat(log.ends[-1].parameters, context.test.inputs, context.test.targets)
    scores = queries.new_zeros(len(context.test), len(context.train))
    for segment in reversed(segments(log, n_segments)):
        weights = [moment.parameters for moment in segment.moments]
        factors = fit_ekfac(
            rows.computer, weights, context.train.inputs, context.seed, draws=None, targets=context.train.targets
        )
        rotated = factors.rotate_rows(queries)
        moved = factors.filter(rotated, response(segment.time, decay)) / (len(weights) * len(context.train))
        for state in weights:
            at = 0
            for part in rows.batches(state, context.train.inputs, context.train.targets):
                scores[:, at : at + len(part.q)] += factors.score(moved, part.layers, part.q)
                at += len(part.q)
        queries = factors.rotate_back(factors.filter(rotated, survival(segment.time, decay)))
    return scores
