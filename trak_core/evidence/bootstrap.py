"""Bootstrap of the mean LDS: subsets and test examples are drawn again, and every method is seen on the same draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.seeds import derive_seed

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
N_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Draws:
    """What a bootstrap draws; the same for the same sizes and seed, so that methods can be compared in pairs."""

    weights: NDArray[np.float32]  # how often each subset is drawn `[n_draws, n_subsets]`
    tests: NDArray[np.int64]  # which test examples are drawn `[n_draws, n_test]`

    @classmethod
    def of(cls, n_subsets: int, n_test: int, seed: int, n_draws: int = N_BOOTSTRAP) -> "Draws":
        """Draws with replacement of as many subsets and test examples as there are."""
        generator = np.random.default_rng(derive_seed(seed, "lds bootstrap"))
        weights = np.empty((n_draws, n_subsets), dtype=np.float32)
        tests = np.empty((n_draws, n_test), dtype=np.int64)
        for draw in range(n_draws):
            weights[draw] = np.bincount(generator.integers(n_subsets, size=n_subsets), minlength=n_subsets)
            tests[draw] = generator.integers(n_test, size=n_test)
        return cls(weights, tests)

    def means(self, resampled: NDArray[np.float32]) -> Floats:
        """The mean `[n_draws]` of every draw over its test examples, of `[n_draws, n_test]`; what is NaN is left out.

        It is NaN where nothing else is drawn.
        """
        drawn = np.take_along_axis(resampled, self.tests, axis=1)
        defined = np.isfinite(drawn)
        sums = np.where(defined, drawn, 0).sum(axis=1, dtype=np.float64)
        counts = defined.sum(axis=1)
        return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))

    def resample(self, predicted: Floats, actual: Floats) -> NDArray[np.float32]:
        """Spearman correlations `[n_draws, n_test]` of two `[n_subsets, n_test]` over the subsets of each draw.

        They are ranked anew in every draw; NaN where one side is constant.
        """
        found = np.empty((len(self.weights), predicted.shape[1]), dtype=np.float32)
        for test in range(predicted.shape[1]):
            left, right = (centred_ranks(side[:, test], self.weights) for side in (predicted, actual))
            weighted = self.weights * left
            covariance = np.einsum("dn,dn->d", weighted, right)
            of_left = np.einsum("dn,dn->d", weighted, left)
            of_right = np.einsum("dn,dn,dn->d", self.weights, right, right)
            scale = np.sqrt(of_left) * np.sqrt(of_right)
            found[:, test] = np.divide(covariance, scale, out=np.full_like(scale, np.nan), where=scale > 0)
        return found


def centred_ranks(values: Floats, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ranks `[n_draws, n]` of values `[n]` when value i is there `weights[:, i]` times, less their mean.

    Ties share their mean rank. The values are sorted once; numbers of up to 2^22 subsets are exact.
    """
    order = np.argsort(values, kind="stable")
    ordered, drawn = values[order], weights[:, order]
    through = np.cumsum(drawn, axis=1, dtype=np.float32)
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    if len(starts) < len(values):
        ends = np.r_[starts[1:], len(values)]
        group = np.repeat(np.arange(len(starts)), ends - starts)
        last = through[:, ends - 1]
        first = np.concatenate([np.zeros_like(last[:, :1]), last[:, :-1]], axis=1)
        middle = ((first + last) / 2)[:, group]
    else:
        middle = through - drawn / 2
    # The mean of (before + through + 1) / 2 over all rows is (total + 1) / 2.
    ranks: NDArray[np.float32] = np.empty_like(weights)
    ranks[:, order] = middle - through[:, -1:] / 2
    return ranks


def interval(estimate: float, means: Floats, widened: float = 1.0) -> tuple[float, float]:
    """The 95% interval (low, high) of an estimate from the means of resamples; NaN where none is defined.

    Repeated subsets make every resampled correlation a little weaker, so the interval is moved by the difference
    between the estimate and the mean of the resamples (bias correction), then widened about the estimate by a factor.
    """
    defined = means[np.isfinite(means)]
    if not len(defined) or not np.isfinite(estimate):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = (np.quantile(defined, [tail, 1 - tail]) - defined.mean()) * widened + estimate
    return float(low), float(high)
