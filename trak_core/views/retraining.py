"""Before and after: what cleaned labels came to, which test examples they fixed or broke, and why."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from trak_core.store.retrainings import Corrections, Estimate, LabelSet, Retraining
from trak_core.store.reviews import ReviewLog
from trak_core.store.run import Run
from trak_core.views.examples import Example, read_examples
from trak_core.views.review import standing_log

MOST_REASONS = 5
MOST_LISTED = 20
_CHANGED = ("came_right", "answer_before", "answer_after", "n_right_before", "n_right_after", "change")
_NO_DIFFERENCE = "not statistically significant"


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
        rows.append(LabelSetRow("wrong ones removed", 0, n_relabelled + n_excluded, retraining.excluded))
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


def gain_sentence(retraining: Retraining) -> str:
    """What the cleaned labels came to."""
    before, after, gain = retraining.kept.accuracy.mean, retraining.cleaned.accuracy.mean, retraining.gain_cleaned
    if gain.is_clear:
        how = "rose" if gain.mean > 0 else "fell"
        return f"Test accuracy {how} from {before:.1%} to {after:.1%} with the cleaned labels: {_points(gain)}."
    return (
        f"Test accuracy was {before:.1%} with the labels as given and {after:.1%} with the cleaned ones: "
        f"{_NO_DIFFERENCE} ({_points(gain)})."
    )


def here_sentence(retraining: Retraining) -> str:
    """That the difference stands on these test examples, where it might not on others; empty otherwise."""
    gain = retraining.gain_cleaned
    if gain.is_clear or not gain.is_clear_here:
        return ""
    return (
        "On these very test examples the difference is more than the seeds of training explain "
        f"({_points_range(gain.seeds_low, gain.seeds_high)}); more test examples would tell."
    )


def second_sentence(retraining: Retraining) -> str:
    """What came of removing everything that was found wrong, beside the cleaned labels."""
    corrections, gain = retraining.trial.corrections, retraining.gain_excluded
    if not corrections.relabelled:
        return "Nothing was relabelled: the cleaned labels are the given ones without what was excluded."
    end = "" if gain.is_clear else f", {_NO_DIFFERENCE}"
    n = len(corrections.wrong)
    these = "the one" if n == 1 else f"all {n:,}"
    return (
        f"With {these} that {'was' if n == 1 else 'were'} found wrong removed it was "
        f"{retraining.excluded.accuracy.mean:.1%}: {_points(gain)}{end}."
    )


def _points(gain: Estimate) -> str:
    return f"{_signed(gain.mean)} points, 95% interval {_points_range(gain.low, gain.high)}"


def _points_range(low: float, high: float) -> str:
    return f"{_signed(low)} to {_signed(high)}"


def _signed(share: float) -> str:
    """A share in points, with its sign; what rounds to nothing has none to show below zero."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _sentences(retraining: Retraining) -> list[str]:
    said = (gain_sentence(retraining), here_sentence(retraining), second_sentence(retraining))
    return [sentence for sentence in said if sentence]


def left_aside_sentence(log: ReviewLog) -> str:
    """How many verdicts were not applied because they are about something else; empty where there are none."""
    n = log.n_of_other_data + log.n_not_in_run
    if not n:
        return ""
    was = "verdict is" if n == 1 else "verdicts are"
    return f"{n:,} {was} about data, examples or classes that the run does not have; kept in the file, not applied."


def models_sentence(retraining: Retraining) -> str:
    """How many models stand behind the figures, without a full stop."""
    n_seeds = retraining.trial.n_seeds
    n_lost = n_seeds - retraining.n_models
    lost = f" ({n_lost} of {n_seeds} seeds diverged and are skipped)" if n_lost else ""
    return f"{retraining.n_models} models on each set of labels{lost}"


def retraining_text(run: Run, retraining: Retraining) -> str:
    """Accuracies, differences and changed test examples as lines, for the command line."""
    corrections = retraining.trial.corrections
    lines = [
        f"Run {run.info.name!r}: {len(corrections.relabelled):,} train examples relabelled, "
        f"{len(corrections.excluded):,} excluded; {models_sentence(retraining)}, {run.info.n_test:,} test examples.",
        "",
        f"{'labels':20} {'accuracy':>8}  {'95% interval':16}  {'difference':>10}  {'95% interval':15}  seeds alone",
    ]
    gains = (None, retraining.gain_cleaned, retraining.gain_excluded)
    for row, gain in zip(label_set_rows(retraining), gains, strict=False):
        of = row.found.accuracy
        line = f"{row.title:20} {of.mean:8.1%}  {f'{of.low:.1%} to {of.high:.1%}':16}"
        if gain is not None:
            line += f"  {_signed(gain.mean):>10}  {_points_range(gain.low, gain.high):15}"
            line += f"  {_points_range(gain.seeds_low, gain.seeds_high)}"
        lines.append(line.rstrip())
    lines += ["", *_sentences(retraining)]
    changed = changed_tests(run, retraining)
    for title, came_right in (("fixed", True), ("broken", False)):
        of_kind = [one for one in changed if one.came_right == came_right]
        lines += ["", f"Test examples {title}: {len(of_kind):,}"]
        for one in of_kind[:MOST_LISTED]:
            lines += _changed_lines(run, retraining, one)
        if len(of_kind) > MOST_LISTED:
            lines.append(f"  and {len(of_kind) - MOST_LISTED:,} more; --json lists all.")
    lines += [
        "",
        f"Found on {retraining.asked_at:%Y-%m-%d at %H:%M} UTC in {retraining.seconds:.1f} s and kept beside the "
        "verdicts of the run.",
    ]
    return "\n".join(lines) + "\n"


def _changed_lines(run: Run, retraining: Retraining, one: ChangedTest) -> list[str]:
    return [
        f"  test {one.example.idx}, label “{one.example.label_name}”: “{one.answer_before}” before, "
        f"“{one.answer_after}” after; right in {one.n_right_before} and then {one.n_right_after} of {one.n_models} "
        f"models, margin {one.change:+.2f}",
        *(f"      {reason_in_words(reason)}" for reason in why_changed(run, retraining, one)),
    ]


def retraining_facts(run: Run, retraining: Retraining) -> dict[str, Any]:
    """The same and all changed test examples, as JSON takes it; accuracies and differences are shares, 0 to 1."""
    trial = retraining.trial
    return {
        "run": run.info.name,
        "asked_at": retraining.asked_at.isoformat(),
        "seconds": retraining.seconds,
        "n_seeds": trial.n_seeds,
        "n_models": retraining.n_models,
        "relabelled": [{"train_idx": idx, "new_label": label} for idx, label in trial.corrections.relabelled],
        "excluded": trial.corrections.excluded,
        "accuracy": {
            name: {**asdict(getattr(retraining, name).accuracy), "by_seed": getattr(retraining, name).by_seed}
            for name in ("kept", "cleaned", "excluded")
        },
        "gain_cleaned": asdict(retraining.gain_cleaned),
        "gain_excluded": asdict(retraining.gain_excluded),
        "said": _sentences(retraining),
        "changed": [
            {
                "test_idx": one.example.idx,
                "label": one.example.label_name,
                **{name: getattr(one, name) for name in _CHANGED},
                "why": [
                    {
                        "train_idx": reason.example.idx,
                        "label": reason.example.label_name,
                        "new_label": reason.new_name,
                        "score": reason.score,
                    }
                    for reason in why_changed(run, retraining, one)
                ],
            }
            for one in changed_tests(run, retraining)
        ],
    }
