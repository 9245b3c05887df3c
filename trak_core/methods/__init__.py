"""Attribution methods; each gives scores `[n_test, n_train]`, positive where a train example helps."""

from trak_core.methods.baselines import embedding_scores, random_scores, same_class_scores
from trak_core.methods.context import Examples, Ledger, MethodContext, Need, Tuning
from trak_core.methods.gradient_rows import GradientRows
from trak_core.methods.kernels import (
    DEFAULT_RIDGE,
    RIDGES,
    DualKernel,
    PrimalKernel,
    check_ridge,
    soft_threshold,
)
from trak_core.methods.magic import magic_scores
from trak_core.methods.method import Method, MethodInfo, ScoreMatrix, Scores
from trak_core.methods.product import ProductScores, Term
from trak_core.methods.registry import METHODS, find_method

__all__ = [
    "DEFAULT_RIDGE",
    "METHODS",
    "RIDGES",
    "DualKernel",
    "Examples",
    "GradientRows",
    "Ledger",
    "Method",
    "MethodContext",
    "MethodInfo",
    "Need",
    "PrimalKernel",
    "ProductScores",
    "ScoreMatrix",
    "Scores",
    "Term",
    "Tuning",
    "check_ridge",
    "embedding_scores",
    "find_method",
    "magic_scores",
    "random_scores",
    "same_class_scores",
    "soft_threshold",
]
