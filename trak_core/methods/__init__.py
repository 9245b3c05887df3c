"""Attribution methods; each gives scores `[n_test, n_train]`, positive where a train example helps."""

from trak_core.methods.checkpoint_kernels import CheckpointKernel, Kernels, SolvedKernel, is_dual
from trak_core.methods.context import Examples, Ledger, MethodContext, Need, Tuning
from trak_core.methods.gradient_rows import GradientRows, GradientSettings
from trak_core.methods.kernels import (
    DEFAULT_RIDGE,
    RIDGES,
    DualKernel,
    PrimalKernel,
    check_ridge,
    soft_threshold,
)
from trak_core.methods.magic import magic_scores
from trak_core.methods.method import Method, MethodInfo, ScoreMatrix, Scores, best, qualities
from trak_core.methods.product import ProductScores, Term
from trak_core.methods.registry import METHODS, find_method
from trak_core.methods.trak import fit_targets, ridge_qualities
from trak_core.methods.trak_loop import (
    CHECKPOINT_COUNTS,
    Average,
    TrakScores,
    mean_scores,
    mean_self_influence,
    predict_subsets,
)

__all__ = [
    "CHECKPOINT_COUNTS",
    "DEFAULT_RIDGE",
    "METHODS",
    "RIDGES",
    "Average",
    "CheckpointKernel",
    "DualKernel",
    "Examples",
    "GradientRows",
    "GradientSettings",
    "Kernels",
    "Ledger",
    "Method",
    "MethodContext",
    "MethodInfo",
    "Need",
    "PrimalKernel",
    "ProductScores",
    "ScoreMatrix",
    "Scores",
    "SolvedKernel",
    "Term",
    "TrakScores",
    "Tuning",
    "best",
    "check_ridge",
    "find_method",
    "fit_targets",
    "is_dual",
    "magic_scores",
    "mean_scores",
    "mean_self_influence",
    "predict_subsets",
    "qualities",
    "ridge_qualities",
    "soft_threshold",
]
