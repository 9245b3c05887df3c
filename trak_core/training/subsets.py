"""The random subsets on which models are retrained: the ledger that evidence is measured against."""

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.seeds import derive_seed


def draw_half_subsets(n_subsets: int, n_train: int, seed: int) -> NDArray[np.bool_]:
    """Bool masks `[n_subsets, n_train]`, each with `n_train // 2` members drawn without replacement.

    Source: the linear datamodeling score of Park et al. 2023 (arXiv 2303.14186), section 2, with alpha = 0.5.
    """
    return draw_subsets(n_subsets, n_train, n_train // 2, derive_seed(seed, "subsets"))


def draw_subsets(n_subsets: int, n_train: int, n_members: int, seed: int) -> NDArray[np.bool_]:
    """Bool masks `[n_subsets, n_train]` with `n_members` members each; the first of many are the first of few.

    Raises:
        InvalidSettingError: a subset would be empty or larger than the training set.
    """
    if not 1 <= n_members <= n_train:
        raise InvalidSettingError(f"n_members={n_members}; a subset of {n_train} examples has from 1 to {n_train}.")
    generator = np.random.default_rng(seed)
    masks = np.zeros((n_subsets, n_train), dtype=bool)
    for mask in masks:
        mask[generator.permutation(n_train)[:n_members]] = True
    return masks
