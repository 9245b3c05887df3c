"""One opinion of several witnesses on what an example is.

The logarithmic opinion pool: log p = sum_k w_k log p_k, brought to sum 1. The weights, none negative, are those under
which the labels as they are given are most probable (stacking; Wolpert 1992, Genest & Zidek 1986). So a witness that
knows nothing of this kind of data gets a weight of about 0, witnesses that say the same share theirs, and the
probabilities that come out are calibrated on the labels; nothing is left to be chosen by hand.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.labels.signals import log_probabilities

N_STEPS = 100


def pool_opinions(
    opinions: Sequence[NDArray[np.float64]], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pooled log-probabilities `[n, n_classes]` and the weights of the opinions `[n_opinions]`, both float64.

    Args:
        opinions: log-probabilities `[n, n_classes]`, each by a witness that was not told the label of the example.
        labels: as they are given `[n]`.
    """
    given = torch.from_numpy(labels)
    witnesses = [torch.from_numpy(opinion).double() for opinion in opinions]
    logs = torch.zeros(len(witnesses), dtype=torch.float64, requires_grad=True)  # of the weights: none is negative
    optimizer = torch.optim.LBFGS([logs], max_iter=N_STEPS, line_search_fn="strong_wolfe")

    def step() -> float:
        optimizer.zero_grad()
        pooled = sum(log.exp() * witness for log, witness in zip(logs, witnesses, strict=True))
        loss = torch.nn.functional.cross_entropy(torch.as_tensor(pooled), given)
        # Where every label is told without doubt the best weights are infinite; this holds them near 1.
        (loss + 1e-4 * logs.square().sum()).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(step)  # type: ignore[no-untyped-call]
    weights = logs.detach().exp().numpy()
    pooled = np.sum([weight * opinion for weight, opinion in zip(weights, opinions, strict=True)], axis=0)
    return log_probabilities(pooled), weights
