"""Whether the models of a run have learnt anything, in words; that an explanation is faithful is another matter."""

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from trak_core.evidence.lds import TrustLevel, capped
from trak_core.evidence.lds_alone import lds_alone
from trak_core.evidence.model_quality import (
    ModelQuality,
    answers_are_the_same,
    blind_tests,
    capped_trust,
    facts_in,
    quality_of_classes,
)
from trak_core.store.run import Run
from trak_core.views.browse import TestOverview, overview

SHOWN = 8
"""Classes that are named in a sentence."""
NOT_MEASURED = "Whether the models have learnt anything is not measured."
NO_BETTER, NOT_SHOWN = "no better than a guess", "not shown to beat a guess"
"""Marks of models that are no better than one answer for all, and of those that may be by chance alone."""


def quality_of(run: Run, tests: TestOverview | None = None) -> ModelQuality | None:
    """How good the models' answers are; None where that is not known.

    Runs of earlier versions, saved from Python or imported tell it from their stored predictions, without the linear
    model and without what their inputs hold.

    Args:
        run: that is asked about.
        tests: its answers, where they have been read already.
    """
    if (kept := facts_in(run.info.provenance)) is not None:
        return kept if kept.n_test is not None else replace(kept, n_test=run.info.n_test)
    tests = tests or overview(run)
    if not (run.info.has_classes and tests.is_known):
        return None
    single = run.rows("SELECT avg(test_accuracy) FROM checkpoints")[0][0]
    return quality_of_classes(tests.predicted, tests.labels, run.train_labels, run.info.class_names, single)


def learnt_sentence(quality: ModelQuality | None) -> str:
    """The one sentence that stands wherever trust stands: whether the models are better than one answer for all."""
    if quality is None:
        return NOT_MEASURED
    not_beaten = "have not been shown to beat" if quality.is_above_guess else "have not beaten"
    if quality.measure == "R²":
        found = f"R² {quality.value:.2f} (95% interval {quality.ci_low:.2f} to {quality.ci_high:.2f})"
        if quality.beats_guess:
            return f"The models have beaten the mean of the training targets: {found}."
        return f"The models {not_beaten} the mean of the training targets: {found}{_too_few(quality)}."
    found = f"accuracy {quality.value:.2f}"
    share = f"the majority's share {quality.guess:.2f}"
    if quality.constant > quality.guess:
        share += f", that of the largest class of the test examples {quality.constant:.2f}"
    if quality.beats_guess:
        interval = f" (95% interval {quality.ci_low:.2f} to {quality.ci_high:.2f})"
        return f"The models have beaten the majority: {found}{interval}, {share}."
    return f"The models {not_beaten} the majority: {found}, {share}{_too_few(quality)}."


def _too_few(quality: ModelQuality) -> str:
    """That so few test examples cannot tell a difference that is there; empty where there is none."""
    if not quality.is_above_guess:
        return ""
    n = quality.n_test
    examples = "so few test examples are" if n is None else f"{n:,} test example{' is' if n == 1 else 's are'}"
    perfect = "" if quality.can_be_shown else ", even for a model without a mistake"
    return f"; {examples} too few to tell (p = {quality.p_value:.2f}){perfect}"


def mark_of(quality: ModelQuality | None) -> str:
    """What marks models that are not shown to be better than one answer for all; empty for others."""
    if quality is None or quality.beats_guess:
        return ""
    return NOT_SHOWN if quality.is_above_guess else NO_BETTER


def has_not_learnt(quality: ModelQuality | None) -> bool:
    """True where it was measured, and the models are not shown to be better than one answer for all."""
    return quality is not None and not quality.beats_guess


def further_sentences(quality: ModelQuality | None) -> list[str]:
    """What else people should know of the models before they believe anything that stands on them."""
    if quality is None:
        return []
    found = []
    if quality.linear is not None:
        than = "A linear model on the same inputs reaches"
        behind = " The models here do worse than that." if quality.linear > quality.ci_high else ""
        found.append(f"{than} {quality.measure} {quality.linear:.2f}.{behind}")
    if quality.never_answered:
        names = ", ".join(f"“{name}”" for name in quality.never_answered[:SHOWN])
        more = len(quality.never_answered) - SHOWN
        found.append(f"Never answered: {names}{f' and {more:,} more' if more > 0 else ''}.")
    if (inputs := quality.inputs) is not None:
        sides = (("train", inputs.train_same, inputs.n_empty_train), ("test", inputs.test_same, inputs.n_empty_test))
        for what, is_same, n in sides:
            if is_same:
                found.append(f"All {what} inputs are the same to the model: no explanation can be trusted.")
            elif n:
                one = "input is" if n == 1 else "inputs are"
                found.append(f"{n:,} {what} {one} empty to the model: nothing but zeros, one tone or unknown words.")
    return found


def quality_figures(quality: ModelQuality | None) -> dict[str, float]:
    """What answers reach, by whose they are: the models', one model's, one answer for all, and a linear model's."""
    if quality is None:
        return {}
    guess = f"always “{quality.guess_name}”" if quality.guess_name else "the mean of the training targets"
    found = {
        "the models together": quality.value,
        "one model, on average": quality.single,
        guess: quality.guess,
        "a linear model": quality.linear,
    }
    return {name: value for name, value in found.items() if value is not None}


# --- trust ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blindness:
    """Which test examples the models cannot tell from others, so that no explanation of them deserves trust."""

    tests: NDArray[np.bool_]  # bool `[n_test]`
    reason: str  # in a sentence

    def cap(self, level: TrustLevel, test_idx: int) -> TrustLevel:
        """The level of trust in an explanation of a test example, once it is known what the model sees of it."""
        return capped_trust(level, bool(self.tests[test_idx]))

    def reason_for(self, test_idx: int) -> str:
        """The reason, where it holds for the test example; otherwise empty."""
        return self.reason if self.tests[test_idx] else ""


def sees_nothing(run: Run) -> bool:
    """True where all train inputs are known to be the same to the models, so that scores tell labels alone."""
    kept = facts_in(run.info.provenance)
    return kept is not None and kept.inputs is not None and kept.inputs.train_same


def blindness(run: Run, tests: TestOverview) -> Blindness:
    """Test examples of a run that its models cannot see: empty or all the same to them, or answered all alike."""
    kept = facts_in(run.info.provenance)
    facts = None if kept is None else kept.inputs
    says_the_same = run.info.has_classes and tests.is_known and answers_are_the_same(tests.probabilities)
    blind = blind_tests(facts, run.info.n_test, says_the_same)
    if says_the_same:
        reason = "The models answer the same for every test example, so that nothing in it is behind the answer."
    elif facts is not None and (facts.train_same or facts.test_same):
        reason = "All inputs are the same to the model, so that nothing in them is behind the answer."
    else:
        reason = "This input is empty to the model, so that nothing in it is behind the answer."
    return Blindness(blind, reason)


def trust_counts(run: Run, tests: TestOverview, method: str | None = None) -> dict[TrustLevel, int]:
    """How many explanations of default targets by a method deserve which trust, the highest first."""
    found: dict[TrustLevel, int] = dict.fromkeys(get_args(TrustLevel), 0)
    rows = run.rows("SELECT test_idx, trust FROM lds WHERE method = ? ORDER BY test_idx", [run.check_method(method)])
    levels, blind, alone = dict(rows), blindness(run, tests), lds_alone(run, method)
    cap = "high" if alone is None else alone.cap
    for test_idx in range(run.info.n_test):
        found[blind.cap(capped(levels.get(test_idx) or "not measured", cap), test_idx)] += 1
    return found


def trust_sentence(run: Run, counts: dict[TrustLevel, int]) -> str:
    """The share of explanations by the run's own method that deserve each level of trust, from `trust_counts`."""
    n_test = max(1, sum(counts.values()))
    shares = ", ".join(f"{level} {count / n_test:.0%}" for level, count in counts.items() if count)
    return f"Trust in explanations by {run.method_titles[run.info.method]}: {shares}."
