"""cleanlab's rankings of labels, by its own package, on out-of-fold probabilities: what to compare with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import NeedNotMetError

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def cleanlab_signals(labels: NDArray[np.int64], probabilities: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Every ranking that cleanlab offers, by name: scores float64 `[n]`, higher for a more suspicious label.

    Source: Northcutt, Jiang, Chuang 2021 (Confident learning); Kuan & Mueller 2022 (label quality scores).

    Args:
        labels: given `[n]`; every class occurs.
        probabilities: by models that did not see the example `[n, n_classes]`.

    Raises:
        NeedNotMetError: cleanlab is not installed.
    """
    try:
        from cleanlab.rank import get_label_quality_scores  # type: ignore[import-untyped]
    except ImportError as error:
        raise NeedNotMetError(
            "cleanlab is not installed, so its rankings cannot be compared with; install it: pip install cleanlab."
        ) from error
    rows = probabilities / probabilities.sum(axis=1, keepdims=True)
    return {
        f"cleanlab_{method}": -np.asarray(get_label_quality_scores(labels, rows, method=method), dtype=np.float64)
        for method in METHODS
    }
