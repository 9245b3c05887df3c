"""Before and after: which test examples the cleaned labels fixed or broke, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trak_core.store.retrainings import Corrections, LabelSet, Retraining
from trak_core.store.reviews import ReviewLog
from trak_core.store.run import Run
from trak_core.views.examples import Example, read_examples
from trak_core.views.review import standing_log

MOST_REASONS = 5


def corrections_of(run: Run, log: ReviewLog) -> Corrections:
    """What the standing verdicts find wrong; where reviewers differ, the last one counts.

    Labels that were kept, that nobody is sure of, or that would be replaced by themselves stay as they are. Verdicts on
    examples or classes that the run does not have are ignored.
    """
    latest = standing_log(run, log).latest
    relabelled = tuple(
        (idx, verdict.new_label)
        for idx, verdict in sorted(latest.items())
        if verdict.new_label is not None and verdict.new_label != run.label("train", idx)
    )
    return Corrections(relabelled, tuple(sorted(idx for idx, one in latest.items() if one.verdict == "exclude")))


def nearest_retraining(history: Sequence[Retraining], corrections: Corrections) -> Retraining | None:
    """The retraining whose labels are nearest to these, of several that with most models, then the first given."""
    return min(history, key=lambda one: (one.trial.corrections.n_differing(corrections), -one.n_models), default=None)


@dataclass(frozen=True)
class LabelSetRow:
    """One set of labels that models learned from."""

    title: str  # what it is, in a few words
    n_relabelled: int  # train examples with a new label
    n_left_out: int  # train examples that the models did not learn from
    found: LabelSet  # what they got right


def label_set_rows(retraining: Retraining) -> list[LabelSetRow]:
    """The sets of labels that were compared; without the third where nothing was relabelled."""
    corrections = retraining.trial.corrections
    n_relabelled, n_excluded = len(corrections.relabelled), len(corrections.excluded)
    rows = [
        LabelSetRow("as given", 0, 0, retraining.kept),
        LabelSetRow("cleaned", n_relabelled, n_excluded, retraining.cleaned),
    ]
    if n_relabelled:
        rows.append(LabelSetRow("wrong ones left out", 0, n_relabelled + n_excluded, retraining.excluded))
    return rows


@dataclass(frozen=True)
class ChangedTest:
    """A test example that most models get right before and wrong after, or the other way round."""

    example: Example  # itself
    came_right: bool  # True when it is right with the cleaned labels
    answer_before: str  # what most models say that learned from the labels as given
    answer_after: str  # what most models say that learned from the cleaned ones
    n_right_before: int  # models that get it right before; n_right_after likewise
    n_right_after: int  # models that get it right after
    n_models: int  # models on either side
    change: float  # of the margin of its label, mean over the models


def changed_tests(run: Run, retraining: Retraining) -> list[ChangedTest]:
    """Test examples that were fixed, the largest rise of the margin first; then those that broke, by its fall."""
    kept, cleaned, names = retraining.kept, retraining.cleaned, run.info.class_names
    before, after = (np.array(found.answers) == run.test_labels for found in (kept, cleaned))
    change = np.array(cleaned.margins) - np.array(kept.margins)
    came = [int(idx) for idx in np.argsort(-change, kind="stable") if after[idx] and not before[idx]]
    went = [int(idx) for idx in np.argsort(change, kind="stable") if before[idx] and not after[idx]]
    return [
        ChangedTest(
            example=example,
            came_right=bool(after[example.idx]),
            answer_before=names[kept.answers[example.idx]],
            answer_after=names[cleaned.answers[example.idx]],
            n_right_before=kept.n_right[example.idx],
            n_right_after=cleaned.n_right[example.idx],
            n_models=retraining.n_models,
            change=float(change[example.idx]),
        )
        for example in read_examples(run, "test", came + went)
    ]


@dataclass(frozen=True)
class Reason:
    """A train example that was found wrong and had a say in a test example."""

    example: Example  # itself, with its label as given
    score: float  # for the label of the test example, with the label as given
    new_name: str | None  # what it is labelled now; None where it is removed

    @property
    def became(self) -> str:
        """What was done about it, in words."""
        return "removed" if self.new_name is None else f"now “{self.new_name}”"


def why_changed(run: Run, retraining: Retraining, changed: ChangedTest) -> list[Reason]:
    """Train examples that were found wrong and explain a change by the scores of the run's method, the strongest first.

    For what was fixed these are the opponents among them, for what broke the proponents; there may be none.
    """
    new_labels = retraining.trial.corrections.new_labels
    wrong = np.array(retraining.trial.corrections.wrong)
    pull = run.score_row(changed.example.idx)[wrong] * (-1 if changed.came_right else 1)
    order = [int(place) for place in np.argsort(-pull, kind="stable")[:MOST_REASONS] if pull[place] > 0]
    return [
        Reason(
            example,
            float(pull[place]) * (-1 if changed.came_right else 1),
            None if (label := new_labels[example.idx]) is None else run.info.class_names[label],
        )
        for place, example in zip(order, read_examples(run, "train", wrong[order].tolist()), strict=True)
    ]


def changed_table(run: Run, retraining: Retraining, changed: Sequence[ChangedTest]) -> pd.DataFrame:
    """Changed test examples with their reasons, a row each, in the order given."""
    return pd.DataFrame(
        {
            "test example": [one.example.idx for one in changed],
            "label": [one.example.label_name for one in changed],
            "before": [one.answer_before for one in changed],
            "after": [one.answer_after for one in changed],
            "models right before": [f"{one.n_right_before} of {one.n_models}" for one in changed],
            "models right after": [f"{one.n_right_after} of {one.n_models}" for one in changed],
            "change of the margin": [round(one.change, 2) for one in changed],
            "why": ["; ".join(map(reason_in_words, why_changed(run, retraining, one))) for one in changed],
        }
    )


def reason_in_words(reason: Reason) -> str:
    """A reason on one line."""
    example = reason.example
    return f"train {example.idx}, labelled “{example.label_name}”, {reason.became} ({reason.score:+.2g})"
