"""The linear datamodeling score (LDS), its interval and its noise ceiling.

Models are retrained on random subsets of the training set. For a test example, the prediction for a subset is
the sum of the scores of its members; the LDS is the Spearman correlation, over the subsets, of the predictions
with the outcomes of the retrained models (Park et al. 2023, arXiv 2303.14186, section 2).

Outcomes are noisy: two models trained on one subset with other seeds differ. The noise ceiling is the highest LDS
that any method can reach against outcomes averaged over the seeds at hand: `sqrt(2 r / (1 + r))`, with r the
correlation between the averages over two halves of the seeds (Spearman-Brown, then the square root because only
one side of the comparison is noisy).

Scores that are the same for all train examples rank nothing: their LDS counts as 0. An LDS that cannot be computed,
because outcomes are the same for all subsets, is NaN here and NULL in the store; means leave it out.
"""

import itertools
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError
from trak_core.evidence.bootstrap import CONFIDENCE, N_BOOTSTRAP, Draws, interval
from trak_core.evidence.fixed_counts import FixedCounts
from trak_core.seeds import derive_seed

Floats = NDArray[np.float64]
MIN_SUBSETS = 4
"""Fewer give no rank correlation worth the name."""
TUNING_SHARE = 0.25
"""Of the test examples: settings are chosen on them, and nothing is reported on them."""
TRUST_HIGH, TRUST_MODERATE = 0.5, 0.25
MOST_OF_IT = 0.5
"""Share of the LDS of a method that a simple rule has to reach for LDS alone to deserve low trust."""
ALIKE = 1e-6
"""Share of the largest score of a row below which all its differences are rounding."""

TrustLevel = Literal["high", "moderate", "low", "not measured"]
_ORDER: tuple[TrustLevel, ...] = ("not measured", "low", "moderate", "high")


@dataclass(frozen=True)
class LdsEvidence:
    """The LDS of one method over a set of subsets."""

    mean: float  # over test examples
    ci_low: float  # lower end of the 95% bootstrap interval of the mean
    ci_high: float  # upper end
    per_test: Floats  # `[n_test]`, NaN where undefined
    per_test_low: Floats  # `[n_test]`, lower ends of the 95% intervals of `per_test`
    per_test_high: Floats  # `[n_test]`, upper ends
    # correlations in the draws of the bootstrap, of the reported test examples `[n_draws, n_reported]`
    resampled: NDArray[np.float32]
    reported: NDArray[np.bool_]  # which test examples these are, bool `[n_test]`
    draws: Draws  # of the bootstrap
    widened: float = 1.0  # by how much the interval of the mean was widened
    fixed: "LdsEvidence | None" = None  # the same at fixed class counts, where it was asked for and can be measured


def tuning_tests(n_test: int, seed: int) -> NDArray[np.bool_]:
    """Bool `[n_test]`: a random quarter of the test examples, for choosing settings; none where there are under 8."""
    chosen = np.zeros(n_test, dtype=bool)
    n_tuning = round(TUNING_SHARE * n_test) if n_test >= 8 else 0
    order = np.random.default_rng(derive_seed(seed, "tuning tests")).permutation(n_test)
    chosen[order[:n_tuning]] = True
    return chosen


def rank_nothing(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Bool `[n_test]`: the rows of scores `[n_test, n_train]` in which all are the same, but for rounding."""
    high, low = scores.max(axis=1), scores.min(axis=1)
    return np.asarray(np.subtract(high, low, dtype=np.float64) <= ALIKE * np.maximum(np.abs(high), np.abs(low)))


def predicted_outcomes(scores: NDArray[np.float32], masks: NDArray[np.bool_]) -> Floats:
    """Sums of scores `[n_test, n_train]` over the members of subsets `[n_subsets, n_train]`: `[n_subsets, n_test]`.

    Scores that rank nothing predict 0, whatever the sizes of the subsets: what rounding leaves would be ranked.
    """
    predicted = masks.astype(np.float64) @ scores.astype(np.float64).T
    predicted[:, rank_nothing(scores)] = 0
    return predicted


def lds_per_test(predicted: Floats, actual: Floats) -> Floats:
    """Spearman correlation of every column: `[n_test]` from two `[n_subsets, n_test]`, ties sharing their mean rank.

    Raises:
        InvalidSettingError: the shapes differ or there are fewer than 4 subsets.
    """
    if predicted.shape != actual.shape or len(predicted) < MIN_SUBSETS:
        raise InvalidSettingError(
            f"LDS compares predictions of shape {predicted.shape} with outcomes of shape {actual.shape}; both must "
            f"be [n_subsets, n_test] with at least {MIN_SUBSETS} subsets."
        )
    return _column_correlation(_ranks(predicted), _ranks(actual))


def lds_with_interval(predicted: Floats, actual: Floats) -> tuple[Floats, Floats, Floats]:
    """LDS with its 95% intervals, as (lds, low, high) `[n_test]` each, from two `[n_subsets, n_test]`.

    All three are exactly 0 where nothing is predicted though outcomes differ.
    """
    found = lds_per_test(predicted, actual)
    silent = _is_silent(predicted, actual)
    lds, low, high = (np.where(silent, 0.0, values) for values in (found, *lds_interval(found, len(predicted))))
    return lds, low, high


def _is_silent(predicted: Floats, actual: Floats) -> NDArray[np.bool_]:
    """Bool `[n_test]`: outcomes differ between subsets, and predictions do not."""
    return np.asarray((np.ptp(predicted, axis=0) == 0) & (np.ptp(actual, axis=0) > 0))


def lds_at_fixed_counts(predicted: Floats, actual: Floats, fixed: FixedCounts) -> tuple[Floats, Floats, Floats]:
    """LDS at fixed counts with its 95% intervals, as (lds, low, high) `[n_test]` each, from two `[n_subsets, n_test]`.

    All three are exactly 0 where predictions or outcomes follow the counts and nothing else, and NaN where LDS is.
    """
    left = fixed.residuals(predicted), fixed.residuals(actual)
    found = lds_per_test(*left)
    follows = np.isnan(found) & np.isfinite(lds_with_interval(predicted, actual)[0])
    ends = lds_interval(found, len(predicted) - fixed.n_regressed)
    lds, low, high = (np.where(follows, 0.0, values) for values in (found, *ends))
    return lds, low, high


def measure_lds(
    predicted: Floats,
    actual: Floats,
    seed: int,
    reported: NDArray[np.bool_] | None = None,
    n_bootstrap: int = N_BOOTSTRAP,
    fixed: FixedCounts | None = None,
) -> LdsEvidence:
    """LDS with intervals from predictions and outcomes `[n_subsets, n_test]`, the mean over the reported test examples.

    The interval of the mean resamples subsets and test examples together (1,000 times), since both are samples
    of what could have been measured.

    With the class counts of the subsets as `fixed`, LDS at fixed counts comes along. Its intervals are those of a
    partial correlation, which has a degree of freedom less for each count: residuals are resampled as they are, and the
    interval is widened by what the regression took. Regressing anew in every resample agrees where there are many
    subsets, and falls apart where there are few, because a resample holds no more than two thirds of them.
    """
    reported = np.ones(predicted.shape[1], dtype=bool) if reported is None else reported
    draws = Draws.of(len(predicted), int(reported.sum()), seed, n_bootstrap)
    resampled = draws.resample(predicted[:, reported], actual[:, reported])
    resampled[:, _is_silent(predicted, actual)[reported]] = 0
    plain = _evidence(draws, resampled, reported, *lds_with_interval(predicted, actual))
    if fixed is None or not fixed.can_be_measured:
        return plain
    resampled = draws.resample(fixed.residuals(predicted)[:, reported], fixed.residuals(actual)[:, reported])
    found = lds_at_fixed_counts(predicted, actual, fixed)
    # What follows the counts alone does so in every draw.
    resampled[:, (found[1] == 0)[reported] & (found[2] == 0)[reported]] = 0
    widened = math.sqrt((len(predicted) - 3) / (len(predicted) - 3 - fixed.n_regressed))
    return replace(plain, fixed=_evidence(draws, resampled, reported, *found, widened=widened))


def _evidence(
    draws: Draws,
    resampled: NDArray[np.float32],
    reported: NDArray[np.bool_],
    per_test: Floats,
    low: Floats,
    high: Floats,
    widened: float = 1.0,
) -> LdsEvidence:
    """The evidence of an LDS `[n_test]` with its ends and its correlations in the draws `[n_draws, n_reported]`."""
    mean = mean_defined(per_test[reported])
    # Moved, an end may leave what a correlation can be.
    low_end, high_end = (float(np.clip(end, -1, 1)) for end in interval(mean, draws.means(resampled), widened))
    return LdsEvidence(mean, low_end, high_end, per_test, low, high, resampled, reported, draws, widened)


def lds_interval(lds: Floats, n_subsets: int) -> tuple[Floats, Floats]:
    """95% intervals of Spearman correlations over `n_subsets` subsets, as (low, high) of the shape of `lds`.

    At fixed counts give the number of subsets less that of counts that were regressed out.

    Fisher's transformation with the variance `(1 + lds^2 / 2) / (n - 3)` of Bonett and Wright (2000).
    """
    clipped = np.clip(lds, -1 + 1e-9, 1 - 1e-9)
    half_width = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * np.sqrt((1 + clipped**2 / 2) / (n_subsets - 3))
    return np.tanh(np.arctanh(clipped) - half_width), np.tanh(np.arctanh(clipped) + half_width)


def trust_level(
    ci_low: float | None,
    fixed_low: float | None = None,
    beats_controls: bool | None = None,
    cap: TrustLevel = "high",
) -> TrustLevel:
    """The level of trust from the lower ends of the 95% intervals of the LDS of that very explanation.

    The lower end, not the estimate: with few subsets the LDS is uncertain, and doubt should lower trust. High: even
    the lower end is at least .5, so the order of outcomes is mostly predicted. Moderate: at least .25.

    Args:
        ci_low: of the LDS; None or NaN where it is not measured.
        fixed_low: of the LDS at fixed class counts; trust goes by the lower of the two. None or NaN where it cannot be
            measured: then trust is low unless the method beats the controls.
        beats_controls: whether it does; None where nothing was compared.
        cap: the highest level there is, of `cap_of_lds_alone` where that applies.
    """
    return capped(_uncapped(ci_low, fixed_low, beats_controls), cap)


def _uncapped(ci_low: float | None, fixed_low: float | None, beats_controls: bool | None) -> TrustLevel:
    lower_ends = [end for end in (ci_low, fixed_low) if end is not None and not math.isnan(end)]
    if ci_low is None or math.isnan(ci_low):
        return "not measured"
    if len(lower_ends) == 1 and beats_controls is False:
        return "low"
    if min(lower_ends) >= TRUST_HIGH:
        return "high"
    return "moderate" if min(lower_ends) >= TRUST_MODERATE else "low"


def capped(level: TrustLevel, cap: TrustLevel) -> TrustLevel:
    """The lower of two levels of trust; "not measured" stays what it is."""
    return cap if _ORDER.index(cap) < _ORDER.index(level) else level


def cap_of_lds_alone(lds: float, controls: Iterable[float | None]) -> TrustLevel:
    """The highest trust where there are classes and LDS at fixed class counts cannot be measured.

    Class shares may be behind such an LDS, whatever its interval. Low where the best negative control reaches at least
    half of it, moderate otherwise.

    Args:
        lds: of the method over all test examples.
        controls: the same of the negative controls, None or NaN where undefined.
    """
    known = [its for its in controls if its is not None and not math.isnan(its)]
    return "low" if known and max(known) >= MOST_OF_IT * lds else "moderate"


def side_by_side(one: float, other: float) -> str:
    """Two LDS in words, with two decimals, or three where two do not tell them apart."""
    digits = 3 if f"{one:.2f}" == f"{other:.2f}" else 2
    return f"{one:.{digits}f} against {other:.{digits}f}"


def noise_ceiling(outcomes: Floats) -> float:
    """Highest mean LDS attainable against outcomes `[n_subsets, n_seeds, n_test]` averaged over the seeds.

    NaN when there are fewer than two seeds or the halves do not agree at all.
    """
    return float(_ceiling(np.asarray(mean_defined(_split_half_reliability(outcomes)))))


def noise_ceiling_per_test(outcomes: Floats) -> Floats:
    """`noise_ceiling` of every test example by itself: `[n_test]`, NaN where the halves do not agree."""
    return _ceiling(_split_half_reliability(outcomes))


def _split_half_reliability(outcomes: Floats) -> Floats:
    """Mean Spearman correlation `[n_test]` between the two halves, over all ways to halve the seeds."""
    n_seeds = outcomes.shape[1]
    if n_seeds < 2:
        return np.full(outcomes.shape[2], np.nan)
    halves = list(itertools.combinations(range(n_seeds), n_seeds // 2))
    if n_seeds % 2 == 0:  # each way to halve an even number comes twice, once for either half
        halves = [half for half in halves if 0 in half]
    agreements = []
    for half in halves:
        rest = [seed for seed in range(n_seeds) if seed not in half]
        agreements.append(lds_per_test(outcomes[:, list(half)].mean(1), outcomes[:, rest].mean(1)))
    return np.asarray(np.mean(agreements, axis=0))


def _ceiling(reliability: Floats) -> Floats:
    positive = np.where(reliability > 0, reliability, np.nan)
    return np.asarray(np.sqrt(2 * positive / (1 + positive)))


def calibration_slope(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    """Slope of actual against predicted outcomes `[n_subsets, n_test]`, each test example about its own mean.

    1 means that a predicted change of one unit of the model output comes true as one unit. NaN when nothing is
    predicted to change, or there are no subsets.
    """
    if not len(predicted):
        return float("nan")
    predicted_change = predicted - predicted.mean(axis=0)
    actual_change = actual - actual.mean(axis=0)
    spread = float((predicted_change**2).sum())
    return float((predicted_change * actual_change).sum() / spread) if spread > 0 else float("nan")


def row_correlations(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rank correlation of every row of two `[n, n_train]`, ties sharing their mean rank; NaN where all is the same."""
    from scipy.stats import rankdata  # here, because the explorer should not wait for scipy before its first page

    # Along rows that lie in one piece, which is several times faster than along columns.
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(side, axis=1) for side in (ours, theirs)))
    lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    products = (a * b).sum(axis=1)
    found = np.full(len(a), np.nan)
    np.divide(products, lengths, out=found, where=lengths > 0)
    return found


def _ranks(values: Floats) -> Floats:
    from scipy.stats import rankdata  # here, because the explorer should not wait for scipy before its first page

    return np.asarray(rankdata(values, axis=0), dtype=np.float64)


def _column_correlation(left: Floats, right: Floats) -> Floats:
    """Pearson correlation of the columns of two `[n, m]` arrays; NaN for constant columns."""
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    covariance = (left * right).sum(axis=0)
    scale = np.sqrt((left**2).sum(axis=0) * (right**2).sum(axis=0))
    return np.asarray(np.divide(covariance, scale, out=np.full_like(scale, np.nan), where=scale > 1e-12))


def mean_defined(values: Floats) -> float:
    """The mean of what is not NaN; NaN where all is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmean(values))
