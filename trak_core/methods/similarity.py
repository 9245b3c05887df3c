"""Similarity in the eyes of the model: cosines of what it sees just before its last layer.

Nearest neighbours of the same class are strong where a question is about a class at all (Singla et al. 2023, arXiv
2311.03386): a sanity check that every method which looks at gradients has to pass.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trak_core.gradients import Inputs, StateDict, representations
from trak_core.methods.context import MethodContext, Need
from trak_core.methods.method import MethodInfo
from trak_core.methods.product import ProductScores, Term


def _unit(context: MethodContext, weights: StateDict, inputs: Inputs) -> Tensor:
    rows = representations(context.architecture, weights, inputs, context.task)
    return torch.nn.functional.normalize(rows, dim=1)


@dataclass(frozen=True)
class EmbeddingSimilarity:
    """Cosine similarity, whatever the label."""

    info = MethodInfo(
        "embedding",
        "Embedding similarity",
        "How alike the model's inner views of two examples are.",
        is_baseline=True,
        needs=(Need.CHECKPOINTS, Need.EMBEDDINGS),
    )

    def fit(self, context: MethodContext) -> ProductScores:
        """As in `Method`."""
        terms = []
        for weights in context.states:
            train = _unit(context, weights, context.train.inputs)
            weight = torch.ones_like(train[:, 0])
            terms.append(Term(_unit(context, weights, context.test.inputs), train, weight))
        return ProductScores(terms)


@dataclass(frozen=True)
class NearestOfClass:
    """Cosine similarity: positive where the label is the target class, negative elsewhere."""

    info = MethodInfo(
        "nearest",
        "Nearest neighbours, same class",
        "Embedding similarity, counted for the target class and against every other.",
        is_baseline=True,
        needs=(Need.CHECKPOINTS, Need.CLASSES, Need.EMBEDDINGS),
    )

    def fit(self, context: MethodContext) -> ProductScores:
        """As in `Method`."""
        terms = []
        for weights in context.states:
            test = _with_label(_unit(context, weights, context.test.inputs), context.test.targets)
            train = _with_label(_unit(context, weights, context.train.inputs), context.train.targets)
            terms.append(Term(test, train, torch.ones_like(train[:, 0]), _signed_cosine))
        return ProductScores(terms)


def _with_label(rows: Tensor, labels: Tensor) -> Tensor:
    return torch.cat([rows, labels[:, None].to(rows)], dim=1)


def _signed_cosine(left: Tensor, right: Tensor) -> Tensor:
    same = left[:, -1:] == right[:, -1]
    cosine = left[:, :-1] @ right[:, :-1].T
    # From 0 to 2 and from -2 to 0, so that no unlike example of the class ranks below one of another class.
    return torch.where(same, 1 + cosine, -1 - cosine)
