"""Attribution methods; each gives scores `[n_test, n_train]`, positive where a train example helps."""

from trak_core.methods.baselines import embedding_scores, random_scores, same_class_scores
from trak_core.methods.registry import METHODS, MethodInfo
from trak_core.methods.trak import DualKernel

__all__ = [
    "METHODS",
    "DualKernel",
    "MethodInfo",
    "embedding_scores",
    "random_scores",
    "same_class_scores",
]
