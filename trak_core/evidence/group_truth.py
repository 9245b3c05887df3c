"""What leaving out whole groups of train examples really does, and how well a method ranks the groups by it.

The truth about a group, such as a document, is the fall of the model output of a test example when models are trained
again without the group, all else the same. A method gives each group a number for each test example; their rank
correlation over the groups is the mean over test examples, with a bootstrap over groups and test examples together, as
for LDS: a subset of all but one group is a subset like any other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.evidence.lds import MIN_SUBSETS, LdsEvidence, measure_lds, noise_ceiling

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GroupTruth:
    """Model outputs of models trained without a group, and of models of the same seeds trained with everything."""

    without: Floats  # float64 `[n_groups, n_seeds, n_test]`; NaN for models that diverged
    complete: Floats  # float64 `[n_seeds, n_test]`, likewise

    @property
    def falls(self) -> Floats:
        """How far each model output falls without each group, seed by seed `[n_groups, n_seeds, n_test]`."""
        return self.complete - self.without

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Groups of which no model diverged, bool `[n_groups]`."""
        return np.asarray(np.isfinite(self.falls).all((1, 2)))

    @property
    def influence(self) -> Floats:
        """The mean fall over seeds `[n_test, n_groups]`, positive where the group helps; NaN where a model diverged."""
        return np.asarray(self.falls.mean(1).T)

    @property
    def ceiling(self) -> float:
        """The highest rank correlation that any method can reach, because models of other seeds differ; NaN of one."""
        return noise_ceiling(self.falls[self.kept])


def rank_groups(influence: NDArray[np.floating], truth: GroupTruth, seed: int) -> LdsEvidence:
    """The rank correlation over groups of what a method says with the truth, its mean and interval over test examples.

    Args:
        influence: of each group on each test example by the method `[n_test, n_groups]`, positive where it helps.
        truth: of the same groups and test examples; groups of which a model diverged are left out.
        seed: of the bootstrap.

    Raises:
        InvalidSettingError: the shapes differ, or there are fewer than 4 groups to rank.
    """
    actual, kept = truth.influence, truth.kept
    if influence.shape != actual.shape or kept.sum() < MIN_SUBSETS:
        raise InvalidSettingError(
            f"influence of shape {influence.shape} is compared with a truth [n_test, n_groups] of shape "
            f"{actual.shape}, of which {kept.sum()} groups have models that did not diverge; both must have one shape "
            f"and at least {MIN_SUBSETS} such groups."
        )
    predicted = np.asarray(influence, dtype=np.float64)
    return measure_lds(predicted[:, kept].T, actual[:, kept].T, seed)
