"""Attribution methods; each gives scores `[n_test, n_train]`, positive where a train example helps."""

from trak_core.methods.context import Examples, Ledger, MethodContext, Need, Tuning
from trak_core.methods.gradient_rows import GradientRows, GradientSettings
from trak_core.methods.groups import Groups, group_sums
from trak_core.methods.kernels import (
    DEFAULT_RIDGE,
    RIDGES,
    CheckpointKernel,
    Kernels,
    SolvedKernel,
    check_ridge,
    is_dual,
    soft_threshold,
)
from trak_core.methods.method import Method, MethodInfo, ScoreMatrix, Scores, best
from trak_core.methods.product import ProductScores, Term
from trak_core.methods.registry import METHODS, find_method, uses_checkpoints
from trak_core.methods.trak import fit_targets, ridge_qualities
from trak_core.methods.trak_loop import CHECKPOINT_COUNTS, Average, mean_scores, mean_self_influence, predict_subsets
from trak_core.methods.untrac import Unlearning, untrac, untrac_inverse

__all__ = [
    "CHECKPOINT_COUNTS",
    "DEFAULT_RIDGE",
    "METHODS",
    "RIDGES",
    "Average",
    "CheckpointKernel",
    "Examples",
    "GradientRows",
    "GradientSettings",
    "Groups",
    "Kernels",
    "Ledger",
    "Method",
    "MethodContext",
    "MethodInfo",
    "Need",
    "ProductScores",
    "ScoreMatrix",
    "Scores",
    "SolvedKernel",
    "Term",
    "Tuning",
    "Unlearning",
    "best",
    "check_ridge",
    "find_method",
    "fit_targets",
    "group_sums",
    "is_dual",
    "mean_scores",
    "mean_self_influence",
    "predict_subsets",
    "ridge_qualities",
    "soft_threshold",
    "untrac",
    "untrac_inverse",
    "uses_checkpoints",
]
