"""Attribution methods; each gives scores `[n_test, n_train]`, positive where a train example helps."""

from trak_core.methods.baselines import embedding_scores, random_scores, same_class_scores
from trak_core.methods.registry import METHODS, MethodInfo
from trak_core.methods.trak import (
    DEFAULT_RIDGE,
    RIDGES,
    DualKernel,
    PrimalKernel,
    check_ridge,
    soft_threshold,
)

__all__ = [
    "DEFAULT_RIDGE",
    "METHODS",
    "RIDGES",
    "DualKernel",
    "MethodInfo",
    "PrimalKernel",
    "check_ridge",
    "embedding_scores",
    "random_scores",
    "same_class_scores",
    "soft_threshold",
]
