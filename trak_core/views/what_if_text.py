"""A verified what-if as text, for the command line."""

from trak_core.store.what_ifs import Verified
from trak_core.views.what_if import Prediction

NAMED = 12


def what_if_text(predicted: Prediction, verified: Verified, title: str) -> str:
    """Predicted beside actual change of the model output, a line a class.

    Args:
        predicted: by the scores.
        verified: by retraining.
        title: of the method.
    """
    removed = verified.question.removed
    named = ", ".join(map(str, removed[:NAMED])) + (" ..." if len(removed) > NAMED else "")
    examples = "train example" if len(removed) == 1 else "train examples"
    lines = [
        f"Test example {predicted.test_idx} without {len(removed):,} {examples} ({named}):",
        f"{'class':16} {'now':>8} {'predicted':>10} {'actual':>8}  95% interval",
    ]
    for entry in predicted.classes:
        c = entry.number
        change = "" if entry.change is None else f"{entry.change:+.3f}"
        lines.append(
            f"{entry.name[:16]:16} {verified.before[c]:8.3f} {change:>10} {verified.change[c]:+8.3f}  "
            f"{verified.low[c]:+.3f} to {verified.high[c]:+.3f}"
        )
    scale = predicted.scale
    if scale.factor is None:
        lines.append(f"Nothing is predicted: scores of {title} have no unit, and no removals were measured.")
    elif scale.typical_error is None:
        lines.append(f"Predicted by {title}, with a scale that was not measured for this run: take it as rough.")
    else:
        lines.append(
            f"Predicted by {title}; such predictions were off by {scale.typical_error:.2f} in the middle case of "
            f"{scale.n_known:,} removals."
        )
    lines.append(
        f"Retrained {verified.n_pairs} times with and without them: the answer changed in "
        f"{verified.share_flipped:.0%} of the pairs. Found on {verified.asked_at:%Y-%m-%d at %H:%M} UTC in "
        f"{verified.seconds:.1f} s and kept in the history of the run."
    )
    return "\n".join(lines) + "\n"
