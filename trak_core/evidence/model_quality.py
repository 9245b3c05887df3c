"""What the models of a run have learnt: how good their answers are, beside the best answer that looks at nothing.

LDS says how faithful an explanation is to the models. It says nothing of whether these have learnt anything: a model
that gives every example the same answer can be explained very well. That is what is measured here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trak_core.evidence.bootstrap import CONFIDENCE
from trak_core.evidence.lds import TrustLevel, capped
from trak_core.seeds import derive_seed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
N_BOOTSTRAP = 1000
SAME = 1e-5
"""Probabilities that differ by less are the same, whatever order a batch was summed in."""


@dataclass(frozen=True)
class InputFacts:
    """What inputs, as the model takes them, can tell it at all."""

    n_empty_train: int  # train inputs that hold nothing to go by: zeros, padding, one tone, no known word
    n_empty_test: int  # test inputs likewise
    empty_tests: tuple[int, ...]  # the numbers of these
    train_same: bool  # whether all train inputs are the same
    test_same: bool  # whether all test inputs are the same


@dataclass(frozen=True)
class ModelQuality:
    """How good the averaged answer of a run's models is on its test examples, beside answers that look at nothing."""

    measure: Literal["accuracy", "R²"]  # what `value`, `single`, `guess`, `constant` and `linear` are
    value: float  # of the averaged answer, over the test examples
    ci_low: float  # lower end of its 95% interval
    ci_high: float  # upper end
    single: float | None  # the mean over checkpoints, each by itself; None where not known
    guess: float  # of always answering what is most frequent in training: its share; 0 where the mean is answered
    guess_name: str  # the class that is most frequent in training; empty where there are no classes
    constant: (
        float  # the best that one answer for all can reach; where the test examples have another majority, its share
    )
    p_value: float  # of the paired one-sided test that the models are better than the better of these two
    never_answered: tuple[str, ...] = ()  # classes that test examples have and that the models give to none
    linear: float | None = None  # of a linear model on the same inputs; None where not measured
    inputs: InputFacts | None = None  # what the inputs tell; None where not measured
    n_test: int | None = None  # test examples that all this is measured on; None where an older version did not keep it

    @property
    def is_above_guess(self) -> bool:
        """True when the models are above any one answer for all, be it by chance."""
        return self.value > max(self.guess, self.constant)

    @property
    def beats_guess(self) -> bool:
        """True when the models are better than any one answer for all, at 95%."""
        return self.is_above_guess and self.p_value < 1 - CONFIDENCE

    @property
    def can_be_shown(self) -> bool:
        """False where even answers without a mistake would not be told from one answer for all on so few examples."""
        if self.measure == "R²" or self.n_test is None:
            return True
        n_others = round((1 - max(self.guess, self.constant)) * self.n_test)  # that such answers alone have right
        return bool(0.5**n_others < 1 - CONFIDENCE)

    def metadata(self) -> dict[str, Any]:
        """In types that JSON has."""
        return asdict(self)

    @classmethod
    def from_metadata(cls, kept: Any) -> "ModelQuality | None":
        """What `metadata` gave; None for anything else, such as a run of a program that measured something else."""
        try:
            # Older versions did not keep the number of test examples.
            told = {"n_test": kept.get("n_test")} | {f.name: kept[f.name] for f in fields(cls) if f.name != "n_test"}
            inputs = told["inputs"]
            told["inputs"] = (
                None if inputs is None else InputFacts(**{**inputs, "empty_tests": tuple(inputs["empty_tests"])})
            )
            found = cls(**{**told, "never_answered": tuple(told["never_answered"])})
            math.fsum((found.value, found.ci_low, found.ci_high, found.guess, found.constant, found.p_value))
        except (AttributeError, KeyError, TypeError):
            return None
        return found


def quality_of_classes(
    predicted: Ints, labels: Ints, train_labels: Ints, class_names: Sequence[str], single: float | None, **known: Any
) -> ModelQuality:
    """Of answers that are classes.

    Whether they beat the majority is McNemar's exact test (McNemar 1947): of the test examples that only one of the two
    answers right, how many the models do. Both the majority of the training and that of the test examples are tried,
    because a model that has learnt nothing may come to give either to every example.

    Args:
        predicted: the averaged answer for each test example `[n_test]`.
        labels: of the test examples `[n_test]`.
        train_labels: of the train examples `[n_train]`.
        class_names: of the labels 0, 1, ...
        single: mean accuracy of single models.
        known: `linear` and `inputs`, as far as they are known.
    """
    n_classes = len(class_names)
    majority = int(np.bincount(train_labels, minlength=n_classes).argmax())
    of_tests = np.bincount(labels, minlength=n_classes)
    right = predicted == labels
    low, high = wilson_interval(int(right.sum()), len(right))
    answered = np.bincount(predicted, minlength=n_classes)
    return ModelQuality(
        measure="accuracy",
        value=float(right.mean()),
        ci_low=low,
        ci_high=high,
        single=single,
        guess=float((labels == majority).mean()),
        guess_name=class_names[majority],
        constant=float(of_tests.max() / len(labels)),
        p_value=max(better_p_value(right, labels == answer) for answer in {majority, int(of_tests.argmax())}),
        n_test=len(labels),
        never_answered=tuple(class_names[i] for i in np.flatnonzero((of_tests > 0) & (answered == 0)).tolist()),
        **known,
    )


def quality_of_numbers(
    predicted: Floats, targets: Floats, train_targets: Floats, single: float | None, seed: int, **known: Any
) -> ModelQuality:
    """Of answers that are one number each: R² against the mean of the training targets, by a paired t-test of errors.

    Arguments are those of `quality_of_classes`, numbers in place of classes; `seed` is that of the interval's
    resamples.
    """
    ours = (predicted - targets) ** 2
    of_mean = (train_targets.mean() - targets) ** 2
    rows = np.random.default_rng(derive_seed(seed, "model quality")).integers(len(ours), size=(N_BOOTSTRAP, len(ours)))
    drawn = np.array([_r2(ours[row], of_mean[row]) for row in rows])
    low, high = (
        np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) if np.isfinite(drawn).any() else (0, 0)
    )
    best = (targets.mean() - targets) ** 2
    return ModelQuality(
        measure="R²",
        value=_r2(ours, of_mean, otherwise=0.0),
        ci_low=float(low),
        ci_high=float(high),
        single=single,
        guess=0.0,
        guess_name="",
        constant=_r2(best, of_mean, otherwise=0.0),
        p_value=max(_smaller_p_value(ours, of_mean), _smaller_p_value(ours, best)),
        n_test=len(targets),
        **known,
    )


def r2(predicted: Floats, targets: Floats, train_targets: Floats) -> float:
    """1 less the squared errors of the answers over those of the mean of the training targets; 0 where both are 0."""
    return _r2((predicted - targets) ** 2, (train_targets.mean() - targets) ** 2, otherwise=0.0)


def _r2(errors: Floats, of_mean: Floats, otherwise: float = math.nan) -> float:
    return float(1 - errors.sum() / of_mean.sum()) if of_mean.sum() > 0 else otherwise


def wilson_interval(n_right: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = n_right / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return min(max(0.0, low), share), max(min(1.0, high), share)  # both ends as exact as the share itself


def better_p_value(right: NDArray[np.bool_], others: NDArray[np.bool_]) -> float:
    """How probable it is that so many more are right than by other answers, if both were equally good; bool `[n]`."""
    from scipy.stats import binom  # here, because the explorer should not wait for scipy before its first page

    n_ours, n_theirs = int((right & ~others).sum()), int((others & ~right).sum())
    return float(binom.sf(n_ours - 1, n_ours + n_theirs, 0.5))


def _smaller_p_value(errors: Floats, others: Floats) -> float:
    """How probable errors `[n]` are that are so much smaller than the others, if both were equally large."""
    from scipy.stats import t

    less = others - errors
    spread = float(less.std(ddof=1)) if len(less) > 1 else 0.0
    if spread == 0:
        return 1.0 if less.mean() <= 0 or len(less) < 2 else 0.0
    return float(t.sf(less.mean() / spread * math.sqrt(len(less)), len(less) - 1))


def answers_are_the_same(probabilities: NDArray[np.floating]) -> bool:
    """Whether a model says the same of all test examples, from probabilities `[n_test, n_classes]`."""
    return len(probabilities) > 1 and bool(np.ptp(probabilities, axis=0).max() < SAME)


def capped_trust(level: TrustLevel, is_blind: bool) -> TrustLevel:
    """The level of trust in an explanation, "low" at most where the model cannot see what it is asked about."""
    return capped(level, "low") if is_blind else level


def blind_tests(facts: InputFacts | None, n_test: int, says_the_same: bool) -> NDArray[np.bool_]:
    """Test examples that the models cannot tell from others, bool `[n_test]`.

    Args:
        facts: about the inputs, where they are known.
        n_test: test examples.
        says_the_same: whether the models answer the same for all of them.
    """
    if says_the_same or (facts is not None and (facts.train_same or facts.test_same)):
        return np.ones(n_test, dtype=bool)
    blind = np.zeros(n_test, dtype=bool)
    if facts is not None:
        blind[[idx for idx in facts.empty_tests if 0 <= idx < n_test]] = True
    return blind


def facts_in(kept: Mapping[str, Any]) -> ModelQuality | None:
    """The quality in the metadata of a run; None where there is none."""
    return ModelQuality.from_metadata(kept.get("model_quality"))
