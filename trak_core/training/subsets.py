"""The random subsets on which models are retrained: the ledger that evidence is measured against."""

import numpy as np
from numpy.typing import NDArray

from trak_core.seeds import derive_seed

__all__ = ["draw_half_subsets"]


def draw_half_subsets(n_subsets: int, n_train: int, seed: int) -> NDArray[np.bool_]:
    """Bool masks `[n_subsets, n_train]`, each with `n_train // 2` members drawn without replacement.

    Source: the linear datamodeling score of Park et al. 2023 (arXiv 2303.14186), section 2, with alpha = 0.5.
    """
    generator = np.random.default_rng(derive_seed(seed, "subsets"))
    masks = np.zeros((n_subsets, n_train), dtype=bool)
    for mask in masks:
        mask[generator.permutation(n_train)[: n_train // 2]] = True
    return masks
