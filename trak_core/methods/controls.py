"""Negative controls: rules that see nothing of what attribution claims to see, and that it has to beat.

In 2026 such rules were found again and again to do as well as influence functions by the measures in use. One number
for each train example, the same for every question, tells which examples are strong, long or large at all; whether more
of it helps or hurts is chosen on the subsets that settings are chosen on. `same_class` is a control too.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.inputs import as_arrays
from trak_core.methods.context import MethodContext, Need
from trak_core.methods.method import MethodInfo, ScoreMatrix, choose
from trak_core.methods.product import ProductScores, Term

SIGNS = (1.0, -1.0)
DIGITS = 4
"""Of similarities: further ones would take room in a store and change no order that matters."""


def _sign(context: MethodContext, values: Tensor) -> float:
    """Whether more `[n_train]` helps, 1, or hurts, -1."""
    centred = values - values.mean()

    def predict(sign: float, masks: Tensor) -> Tensor:
        return (masks.to(centred) @ centred * sign)[:, None].expand(-1, len(context.test))

    return choose(context, SIGNS, 1.0, predict)


def _same_for_all(context: MethodContext, values: Tensor) -> ScoreMatrix:
    """Scores from one number for each train example `[n_train]`, with the better sign."""
    values = values.to(context.train.device).float()
    sign = _sign(context, values)
    return ScoreMatrix((values * sign).expand(len(context.test), -1), {"sign": sign})


@MethodInfo(
    "grad_norm",
    "Gradient norm",
    "How strongly each training example pulls at the model, the same for every question.",
    is_baseline=True,
    is_control=True,
    needs=(Need.CHECKPOINTS,),
)
def gradient_norm(context: MethodContext) -> ProductScores:
    """The norm of the loss gradient of a train example."""
    of_each = _loss_norms(context) if context.loss_norms is None else list(context.loss_norms)
    sign = _sign(context, torch.stack(of_each).mean(0))
    everywhere = (len(context.test), -1)
    terms = [Term((norms * sign).expand(everywhere), None, torch.ones_like(norms), own=norms) for norms in of_each]
    return ProductScores(terms, {"sign": sign})


def _loss_norms(context: MethodContext) -> list[Tensor]:
    """Norms of the loss gradients of the train examples `[n_train]` at each checkpoint."""
    rows, train = context.gradients, context.train
    return [context.q(weights).abs() * rows.norms(weights, train.inputs, train.targets) for weights in context.states]


@MethodInfo(
    "amount",
    "Length or ink",
    "How long each training text is, or how much ink an image has, the same for every question.",
    is_baseline=True,
    is_control=True,
    needs=(Need.MODALITY,),
)
def amount_of_content(context: MethodContext) -> ScoreMatrix:
    """How much a train example holds, as its modality counts it."""
    assert context.modality is not None  # a need that is met
    amounts = context.modality.amount(context.train_media)
    return _same_for_all(context, torch.from_numpy(amounts))


@MethodInfo(
    "target_value",
    "Target value",
    "The number that each training example has as its target, the same for every question.",
    is_baseline=True,
    is_control=True,
    needs=(Need.NUMBERS,),
)
def target_value(context: MethodContext) -> ScoreMatrix:
    """What "same class" is where targets are numbers: a blind model answers with their mean."""
    return _same_for_all(context, context.train.targets)


@MethodInfo(
    "input_similarity",
    "Similarity of inputs",
    "How alike two examples are as they come, to the eye of no model.",
    is_baseline=True,
    is_control=True,
    needs=(Need.MODALITY,),
)
def input_similarity(context: MethodContext) -> ScoreMatrix:
    """The cosine of the inputs, texts as weights of their words, whatever the label."""
    assert context.modality is not None  # a need that is met
    train, test = context.modality.linear_rows(*(as_arrays(part.inputs) for part in (context.train, context.test)))
    return ScoreMatrix(torch.from_numpy(cosines(train, test)).to(context.train.device))


def cosines(train: Any, test: Any) -> NDArray[np.float32]:
    """Cosines `[n_test, n_train]` float32 of rows `[n, d]`, dense or sparse, to four digits; 0 for rows of zeros."""
    from sklearn.metrics.pairwise import cosine_similarity  # takes a second to import

    return np.asarray(np.round(cosine_similarity(test, train), DIGITS), dtype=np.float32)
