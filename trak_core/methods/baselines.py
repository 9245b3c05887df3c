"""What attribution must beat: scores that know nothing of the model, or only what it sees just before its last layer.

Nearest neighbours of the same class are strong where a question is about a class at all (Singla et al. 2023, arXiv
2311.03386): a sanity check that every method which looks at gradients has to pass.
"""

import numpy as np
import torch
from torch import Tensor

from trak_core.gradients import StateDict, representations
from trak_core.methods.context import Examples, MethodContext, Need
from trak_core.methods.method import MethodInfo, ScoreMatrix
from trak_core.methods.product import ProductScores, Term
from trak_core.seeds import derive_seed


@MethodInfo("random", "Random", "Random numbers: what no information at all looks like.", is_baseline=True)
def random_scores(context: MethodContext) -> ScoreMatrix:
    """Independent standard normal numbers."""
    generator = np.random.default_rng(derive_seed(context.seed, "random scores"))
    values = generator.standard_normal((len(context.test), len(context.train)))
    return ScoreMatrix(torch.from_numpy(values).float().to(context.train.device))


@MethodInfo(
    "same_class",
    "Same class",
    "1 for every training example of the target class, else 0.",
    is_baseline=True,
    is_control=True,
    needs=(Need.CLASSES,),
)
def same_class(context: MethodContext) -> ScoreMatrix:
    """1 for the target class, else 0."""
    same = context.test.targets[:, None] == context.train.targets[None, :]
    return ScoreMatrix(same.float())


def _unit(context: MethodContext, weights: StateDict, examples: Examples) -> Tensor:
    rows = representations(context.architecture, weights, examples.inputs, context.task)
    return torch.nn.functional.normalize(rows, dim=1)


def _unit_with_label(context: MethodContext, weights: StateDict, examples: Examples) -> Tensor:
    rows = _unit(context, weights, examples)
    return torch.cat([rows, examples.targets[:, None].to(rows)], dim=1)


@MethodInfo(
    "embedding",
    "Embedding similarity",
    "How alike the model's inner views of two examples are.",
    is_baseline=True,
    needs=(Need.CHECKPOINTS, Need.EMBEDDINGS),
)
def embedding_similarity(context: MethodContext) -> ProductScores:
    """Cosine similarity, whatever the label."""
    terms = []
    for weights in context.states:
        test, train = (_unit(context, weights, part) for part in (context.test, context.train))
        terms.append(Term(test, train, torch.ones_like(train[:, 0])))
    return ProductScores(terms)


@MethodInfo(
    "nearest",
    "Nearest neighbours, same class",
    "Embedding similarity, counted for the target class and against every other.",
    is_baseline=True,
    needs=(Need.CHECKPOINTS, Need.CLASSES, Need.EMBEDDINGS),
)
def nearest_of_class(context: MethodContext) -> ProductScores:
    """Cosine similarity: positive where the label is the target class, negative elsewhere."""
    terms = []
    for weights in context.states:
        test, train = (_unit_with_label(context, weights, part) for part in (context.test, context.train))
        terms.append(Term(test, train, torch.ones_like(train[:, 0]), _signed_cosine))
    return ProductScores(terms)


def _signed_cosine(left: Tensor, right: Tensor) -> Tensor:
    same = left[:, -1:] == right[:, -1]
    cosine = left[:, :-1] @ right[:, :-1].T
    # From 0 to 2 and from -2 to 0, so that no unlike example of the class ranks below one of another class.
    return torch.where(same, 1 + cosine, -1 - cosine)
