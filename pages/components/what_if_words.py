"""What the what-if panel says, in sentences."""

from trak_core.store.what_ifs import Verified
from trak_core.views.what_if import Prediction
from trak_core.views.what_if_scale import Scale


def _these(n: int) -> str:
    return "this one" if n == 1 else f"these {n:,}"


def _margin(predicted: Prediction) -> str:
    return f"the margin of “{predicted.target.name}”" if len(predicted.classes) > 1 else "the answer"


def predicted_sentence(predicted: Prediction) -> str:
    """What is predicted, in words."""
    before, after = predicted.target.before, predicted.target.after
    if after is None:
        return "Scores of this method have no unit, so they predict no number here."
    how = "fall" if after < before else "rise"
    end = ""
    if predicted.is_flipped:
        end = f", and the answer to flip from “{predicted.answer}” to “{predicted.answer_after}”"
    elif predicted.answer_after is not None:
        end = f" (the answer stays “{predicted.answer}”)"
    return (
        f"Without {_these(len(predicted.removed))}, {_margin(predicted)} is predicted to {how} from {before:.2f} "
        f"to {after:.2f}{end}."
    )


def actual_sentence(predicted: Prediction, verified: Verified) -> str:
    """What retraining found, in words."""
    c = predicted.target.number
    how = "fell" if verified.change[c] < 0 else "rose"
    answers = f" The answer changed in {verified.share_flipped:.0%} of the pairs." if len(verified.before) > 1 else ""
    return (
        f"Retrained {verified.n_pairs} times with and without them, it {how} from {verified.before[c]:.2f} to "
        f"{verified.after[c]:.2f}: {verified.change[c]:+.2f}, 95% interval {verified.low[c]:+.2f} to "
        f"{verified.high[c]:+.2f}.{answers}"
    )


def trust_sentence(scale: Scale) -> str:
    """How good such predictions have been."""
    if scale.factor is None:
        return "Nothing was measured that would give these scores a unit."
    if scale.typical_error is None:
        return "How strongly scores tell on the whole data was not measured for this run: rough until verified."
    r = "" if scale.correlation is None else f" (correlation {scale.correlation:.2f})"
    return (
        f"How good is that? Over {scale.n_known:,} removals that were retrained, such predictions for the label "
        f"were off by {scale.typical_error:.2f} in the middle case{r}."
    )


def history_sentence(n: int, n_here: int) -> str:
    """How much was asked before."""
    what = "1 what-if was" if n == 1 else f"{n:,} what-ifs were"
    return f"{what} verified for this run, {n_here:,} of them for this test example."
