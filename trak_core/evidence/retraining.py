"""What a review of the labels came to: test accuracy with the labels as given, and with what was found wrong fixed.

Three sets of labels are compared by models that share their seeds: **kept**, the labels as given; **cleaned**, with new
labels where there are any and without what was excluded; **excluded**, as given, without all that was found wrong.

Two kinds of chance make a difference of accuracies uncertain: models of other seeds would differ, and so would other
test examples. With `d[s, i]` the difference for seed s and test example i, the mean over both is resampled in both
directions (a crossed bootstrap): seeds are drawn with replacement, test examples are as well, and what either draw
adds to the mean is added up,

    mean(d) + c * (mean over drawn seeds - mean(d)) + (mean over drawn test examples - mean(d)).

Drawing few seeds spreads too little; `c = sqrt(n / (n - 1)) * t / z` stretches the draws of n seeds to what Student's
distribution allows for. Adding up the two leaves out how both act together, which a joint draw counts three times over
(Owen 2007, arXiv 0712.1111); it is in either part once already. Intervals are the middle 95% of the draws.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError, NeedNotMetError, NotInRunError, TrainingDivergedError
from trak_core.seeds import derive_seed
from trak_core.store.retrainings import Corrections, Estimate, LabelSet, LabelTrial, Retraining
from trak_core.store.run import Run
from trak_core.subjects.of_run import why_not_made_again

N_SEEDS, FEWEST_SEEDS, MOST_SEEDS = 10, 2, 100
CONFIDENCE = 0.95
N_DRAWS = 10_000
DRAWN_AT_ONCE = 2_000_000
"""Test examples drawn at once, which bounds the memory of the bootstrap."""
MARGIN_DIGITS = 4
Floats = NDArray[np.float64]
LabelSetName = Literal["kept", "cleaned", "excluded"]


def why_labels_are_not_retrained(run: Run) -> str | None:
    """Why other labels cannot be tried on the run, in a sentence; None when they can."""
    if not run.info.has_classes:
        return f"run {run.info.name!r} has numbers as targets and no labels, so there are no others to retrain on."
    reason = why_not_made_again(run)
    return None if reason is None else f"run {run.info.name!r} {reason}."


def as_trial(run: Run, corrections: Corrections, n_seeds: int = N_SEEDS) -> LabelTrial:
    """The trial, if it can be made on the run.

    Corrections come in any order; `n_seeds` models are trained on each set of labels.

    Raises:
        NotInRunError: the run cannot be retrained, or has no such train example or class.
        NeedNotMetError: labels are to be others, and a loop of somebody's own trains the models.
        InvalidSettingError: nothing is corrected, or a train example twice, or so much is found wrong that less than a
            batch stays; or the number of seeds is out of range.
    """
    if reason := why_labels_are_not_retrained(run):
        raise NotInRunError(reason)
    if not FEWEST_SEEDS <= n_seeds <= MOST_SEEDS:
        raise InvalidSettingError(
            f"n_seeds={n_seeds}; an interval needs at least {FEWEST_SEEDS} models on each set of labels, and "
            f"{MOST_SEEDS} are the most."
        )
    relabelled = sorted((run.check_train(idx), run.check_class(label)) for idx, label in corrections.relabelled)
    excluded = sorted(run.check_train(idx) for idx in corrections.excluded)
    corrections = Corrections(tuple(relabelled), tuple(excluded))
    n_wrong, n_train = len(corrections.wrong), run.info.n_train
    if n_wrong < len(relabelled) + len(excluded):
        twice, _ = Counter([*(idx for idx, _ in relabelled), *excluded]).most_common(1)[0]
        raise InvalidSettingError(
            f"corrections name train example {twice} more than once; give it one new label or exclude it."
        )
    if not n_wrong:
        raise InvalidSettingError(
            f"no label of run {run.info.name!r} was found wrong, so there is nothing to compare; relabel or exclude at "
            "least one train example on the page Label review, or give other labels."
        )
    if relabelled and run.info.provenance["training"].get("by") == "train_model":
        raise NeedNotMetError(
            f"run {run.info.name!r} is trained by a train_model of your own, which reads its labels itself: models on "
            f"other labels cannot be trained here. Leave the {len(relabelled):,} relabelled examples out instead, or "
            "fix the labels in the file and build again under another name."
        )
    batch_size = run.info.provenance["training"].get("batch_size", 1)
    if n_train - n_wrong < batch_size:
        raise InvalidSettingError(
            f"{n_wrong:,} of {n_train:,} labels were found wrong, and the {n_train - n_wrong:,} others do not fill one "
            f"batch of {batch_size}; a comparison takes at most {n_train - batch_size:,} wrong labels."
        )
    return LabelTrial(run.info.provenance["fingerprint"], corrections, n_seeds)


@dataclass(frozen=True)
class TestAnswers:
    """What models that learned from one set of labels say of the test examples."""

    margins: Floats  # of the labels, float64 `[n_seeds, n_test]`; not finite for models that diverged
    answers: NDArray[np.int64]  # the most probable classes, int64 `[n_seeds, n_test]`

    __test__ = False  # the name is no pytest class


def compare_label_sets(
    trial: LabelTrial, found: dict[LabelSetName, TestAnswers], test_labels: NDArray[np.int64], seconds: float
) -> Retraining:
    """Accuracy on each set of labels, differences from the labels as given, and what became of every test example.

    Args:
        trial: that was asked.
        found: the answers of the models on each of the three sets, seed by seed.
        test_labels: int64 `[n_test]`.
        seconds: that training took.

    Raises:
        TrainingDivergedError: there are fewer than two seeds of which no model diverged.
    """
    names = get_args(LabelSetName)
    used = np.logical_and.reduce([np.isfinite(found[name].margins).all(1) for name in names])
    n = int(used.sum())
    if n < FEWEST_SEEDS:
        raise TrainingDivergedError(
            f"training diverged for {trial.n_seeds - n} of {trial.n_seeds} seeds, so that nothing can be said; ask "
            "with more seeds, or lower the learning rate of the recipe."
        )
    right = {name: found[name].answers[used] == test_labels for name in names}  # [n, n_test] each
    kept = right["kept"].astype(np.float64)
    values = [right[name].astype(np.float64) for name in names]
    values += [right[name] - kept for name in names[1:]]
    estimates = crossed_estimates(np.stack(values), derive_seed(0, "retraining", trial.retraining_id))
    sets = {
        name: LabelSet(
            accuracy=_clipped(estimate, 0.0),
            by_seed=tuple(right[name].mean(1).tolist()),
            n_right=tuple(right[name].sum(0).tolist()),
            margins=tuple(found[name].margins[used].mean(0).round(MARGIN_DIGITS).tolist()),
            answers=tuple(_most_given(found[name].answers[used], test_labels)),
        )
        for name, estimate in zip(names, estimates, strict=False)
    }
    return Retraining(
        trial=trial,
        asked_at=datetime.now(UTC),
        **sets,
        gain_cleaned=_clipped(estimates[3], -1.0),
        gain_excluded=_clipped(estimates[4], -1.0),
        n_models=n,
        seconds=seconds,
    )


def _clipped(estimate: Estimate, least: float) -> Estimate:
    """The estimate with intervals that end where accuracies, or their differences, do."""
    mean, *ends = astuple(estimate)
    return Estimate(mean, *(min(1.0, max(least, end)) for end in ends))


def _most_given(answers: NDArray[np.int64], labels: NDArray[np.int64]) -> list[int]:
    """The answer that most models give to each test example; of several, one that is not the label."""
    n_classes = int(max(answers.max(), labels.max())) + 1
    counts = (answers[:, :, None] == np.arange(n_classes)).sum(0) * 2  # [n_test, n_classes]
    counts[np.arange(len(labels)), labels] -= 1
    return [int(answer) for answer in counts.argmax(1)]


def crossed_estimates(values: Floats, seed: int, n_draws: int = N_DRAWS) -> list[Estimate]:
    """The mean of each statistic over seeds and test examples, with 95% intervals, as the module explains.

    All statistics see the same draws. Intervals over seeds alone are Student's.

    Args:
        values: `[n_statistics, n_seeds, n_test]` with at least two seeds.
        seed: of the draws.
        n_draws: of the bootstrap.
    """
    from scipy.stats import t  # here, because the explorer should not wait for scipy before its first page

    n_seeds, n_test = values.shape[1:]
    of_seeds, of_tests, means = values.mean(2), values.mean(1), values.mean((1, 2))
    quantile = t.ppf(0.5 + CONFIDENCE / 2, n_seeds - 1)
    stretch = np.sqrt(n_seeds / (n_seeds - 1)) * quantile / NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    generator = np.random.default_rng(seed)
    draws = np.empty((len(values), n_draws))
    at_once = max(1, DRAWN_AT_ONCE // max(n_seeds, n_test))
    for start in range(0, n_draws, at_once):
        n = min(at_once, n_draws - start)
        seeds = of_seeds[:, generator.integers(n_seeds, size=(n, n_seeds))].mean(2) - means[:, None]
        tests = of_tests[:, generator.integers(n_test, size=(n, n_test))].mean(2) - means[:, None]
        draws[:, start : start + n] = means[:, None] + stretch * seeds + tests
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=1)
    half_width = quantile * of_seeds.std(1, ddof=1) / np.sqrt(n_seeds)
    ends: Sequence[Floats] = (means, low, high, means - half_width, means + half_width)
    return [Estimate(*row) for row in np.stack(ends, axis=1).tolist()]
