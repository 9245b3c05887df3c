"""What attribution must beat: scores that know nothing of the model."""

from dataclasses import dataclass

import numpy as np
import torch

from trak_core.methods.context import MethodContext, Need
from trak_core.methods.method import MethodInfo, ScoreMatrix
from trak_core.seeds import derive_seed


@dataclass(frozen=True)
class RandomScores:
    """Independent standard normal numbers."""

    info = MethodInfo("random", "Random", "Random numbers: what no information at all looks like.", is_baseline=True)

    def fit(self, context: MethodContext) -> ScoreMatrix:
        """As in `Method`."""
        generator = np.random.default_rng(derive_seed(context.seed, "random scores"))
        values = generator.standard_normal((len(context.test), len(context.train)))
        return ScoreMatrix(torch.from_numpy(values).float().to(context.train.device))


@dataclass(frozen=True)
class SameClass:
    """1 for the target class, else 0."""

    info = MethodInfo(
        "same_class", "Same class", "1 for every training example of the target class, else 0.", True, (Need.CLASSES,)
    )

    def fit(self, context: MethodContext) -> ScoreMatrix:
        """As in `Method`."""
        same = context.test.targets[:, None] == context.train.targets[None, :]
        return ScoreMatrix(same.float())
