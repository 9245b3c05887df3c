"""Counterfactual removal: what happens to an answer when the examples that it leans on are taken away.

The protocol of Singla et al. 2023 (arXiv 2311.03386) and Ilyas et al. 2022 (arXiv 2202.00622): for test examples that
the model gets right, remove the first k train examples of a method, retrain with several seeds, and see how far the
margin falls and whether the answer flips. The same seeds without removal are the comparison, so that each seed is its
own control.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from trak_core.seeds import derive_seed


def choose_tests(candidates: NDArray[np.bool_], n: int, seed: int) -> NDArray[np.int64]:
    """Numbers of at most `n` of the candidate test examples, drawn at random, in order."""
    idx = np.flatnonzero(candidates)
    order = np.random.default_rng(derive_seed(seed, "removal tests")).permutation(len(idx))
    return np.sort(idx[order[:n]])


@dataclass(frozen=True)
class Removal:
    """One removal after retraining with several seeds."""

    model_output: float  # margin without the removed examples, mean over seeds
    unremoved: float  # margin of the same seeds with everything, mean
    standard_error: float  # of the difference over seeds; NaN with one seed
    flipped: bool  # True when fewer than half of the models still get it right
    n_seeds: int  # models that did not diverge


def summarize_removal(
    without: NDArray[np.float64], right: NDArray[np.bool_], complete: NDArray[np.float64]
) -> Removal | None:
    """The removal of one test example; None if no pair of models is finite.

    Args:
        without: margins `[n_seeds]` of models trained without the removed examples; NaN for those that diverged.
        right: whether those models still give the label as their answer `[n_seeds]`.
        complete: margins `[n_seeds]` of models trained with everything, seed by seed.
    """
    used = np.isfinite(without) & np.isfinite(complete)
    if not used.any():
        return None
    without, right, complete = without[used], right[used], complete[used]
    change = without - complete
    n = len(change)
    return Removal(
        model_output=float(without.mean()),
        unremoved=float(complete.mean()),
        standard_error=float(change.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"),
        flipped=bool(right.mean() < 0.5),
        n_seeds=n,
    )


def midpoints(tried: dict[int, dict[int, bool]]) -> dict[int, int]:
    """Test example to the next k to try in search of the smallest that flips it; none where there is nothing between.

    What was tried is, by test example, k to whether it flipped.
    """
    found = {}
    for test_idx, results in tried.items():
        flips = [k for k, flipped in results.items() if flipped]
        if not flips:
            continue
        high = min(flips)
        low = max((k for k, flipped in results.items() if not flipped and k < high), default=0)
        if high - low > 1:
            found[test_idx] = (low + high) // 2
    return found


def compare_removals(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float, float]:
    """Share of test examples whose margin falls further by our removal than by theirs, with a 95% interval.

    From margins `[n_tests]` of the same test examples. The interval is Wilson's (1927), which is right for shares near
    0 and 1 too.
    """
    n, share = len(ours), float((ours < theirs).mean())
    z = NormalDist().inv_cdf(0.975)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return share, max(0.0, middle - half_width), min(1.0, middle + half_width)
