"""What a retraining on cleaned labels found, in sentences, as text and as facts for programs."""

from dataclasses import asdict
from typing import Any

from trak_core.store.retrainings import Estimate, Retraining
from trak_core.store.reviews import ReviewLog
from trak_core.store.run import Run
from trak_core.views.retraining import ChangedTest, changed_tests, label_set_rows, reason_in_words, why_changed

MOST_LISTED = 20
_CHANGED = ("came_right", "answer_before", "answer_after", "n_right_before", "n_right_after", "change")
_NO_DIFFERENCE = "not statistically significant"


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
        f"With {these} that {'was' if n == 1 else 'were'} found wrong left out it was "
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
