"""Whether a build takes inner products of whole gradients or of projected ones."""

from trak_core.subjects import Subject
from trak_core.training.ensemble import make_models

FEATURES_WHEN_PROJECTED = 2048
"""Dimension of projected gradients; see docs/methods.md for what it costs in LDS."""
MAX_WHOLE_TRAIN = 8000
"""Train examples up to which inner products of whole gradients are taken: the time grows with the cube of their number,
and with more of them a projection of this dimension is quicker."""
MAX_WHOLE_PARAMETERS = 2**29
"""Train examples times parameters up to which whole gradients are held: 2 GiB, were none of them kept as factors."""


def kernel_proj_dim(subject: Subject) -> int | None:
    """Dimension that a build of this subject projects gradients to for its kernels; None for whole gradients.

    It depends on nothing but sizes.
    """
    n_train = len(subject.dataset.train)
    n_parameters = sum(value.numel() for value in make_models(subject.make_model, [0])[0].parameters())
    is_projected = n_train > MAX_WHOLE_TRAIN or n_train * n_parameters > MAX_WHOLE_PARAMETERS
    return FEATURES_WHEN_PROJECTED if is_projected else None
