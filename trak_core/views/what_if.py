"""What if some train examples were gone: what the scores predict, and what retraining answered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.run import Run
from trak_core.store.targets import class_of_target, target_of_class
from trak_core.store.what_ifs import Question, Verified, WhatIfHistory
from trak_core.views.answer_words import has_answer
from trak_core.views.browse import TestOverview, overview
from trak_core.views.what_if_scale import (
    Known,
    Scale,
    default_factor,
    estimate_scale,
    known_removals,
    leave_one_out,
    removal_units,
    with_what_ifs,
)

MOST_CLASSES = 12
"""Classes that are shown; where there are more, those with the highest probability, and the label."""
MOST_NAMED = 12
"""Removed examples that a text names."""


@dataclass(frozen=True)
class ClassChange:
    """What is predicted for one class."""

    number: int  # of the class
    name: str  # its name
    before: float  # model output with all train examples, mean over checkpoints
    # of it without the removed ones; None where the method says nothing about this class in units of the model output
    change: float | None

    @property
    def after(self) -> float | None:
        """Model output without the removed examples."""
        return None if self.change is None else self.before + self.change


@dataclass(frozen=True)
class Prediction:
    """What the scores predict for one test example."""

    test_idx: int  # of the test example
    removed: tuple[int, ...]  # numbers of the train examples
    method: str  # whose scores are summed
    classes: tuple[ClassChange, ...]  # in their order; a single entry where there are no classes
    target: ClassChange  # the one among them that is explained
    answer: str  # name of the model's answer now
    answer_after: str | None  # name of its predicted answer; None where there are no classes or nothing is predicted
    scale: Scale  # that turned sums of scores into changes
    has_answer: bool = True  # False where the model has no answer of its own, only a model output

    @property
    def is_flipped(self) -> bool:
        """True when another answer is predicted."""
        return self.answer_after is not None and self.answer_after != self.answer


def predict_removal(
    run: Run,
    tests: TestOverview,
    test_idx: int,
    removed: Sequence[int],
    scale: Scale,
    method: str | None = None,
    target: int | None = None,
) -> Prediction:
    """What the scores of a method predict for each class, from one read of the scores of one test example.

    The numbers of the removed train examples must be valid, and the scale that of the method. Without a target the
    model's answer is asked about; where the method does not explain that, the label.

    Raises:
        NotInRunError: there is no such test example, method or target.
    """
    test_idx, method = run.check_test(test_idx), run.check_method(method)
    label = run.label("test", test_idx)
    predicted = int(tests.predicted[test_idx]) if tests.is_known else label
    chosen = predicted if target is None else run.class_of_target(test_idx, run.check_target(test_idx, target))
    shown = _shown_classes(run, tests.probabilities[test_idx], {label, predicted, chosen})
    before = _model_outputs(run, test_idx, label)
    changes = _changes(run, test_idx, method, label, shown, removed, scale.factor)
    names = run.info.class_names
    classes = tuple(ClassChange(c, names[c], float(before[c]), changes.get(c)) for c in shown)
    of_class = {entry.number: entry for entry in classes}
    after = _answer_after(tests.probabilities[test_idx], changes) if run.info.has_classes and changes else None
    return Prediction(
        test_idx=test_idx,
        removed=tuple(removed),
        method=method,
        classes=classes,
        target=of_class[chosen] if chosen in changes or label not in changes else of_class[label],
        answer=tests.answers[test_idx],
        answer_after=None if after is None else names[after],
        scale=scale,
        has_answer=has_answer(run),
    )


def predict_question(run: Run, question: Question, method: str | None = None) -> Prediction:
    """What the scores predict, with a scale that has not seen the answer to this very question.

    Errors are those of `predict_removal`, and of reading the history.
    """
    method = run.check_method(method)
    history = [one for one in WhatIfHistory(run.path).of_run(question.fingerprint) if one.question != question]
    known = with_what_ifs(known_removals(run, method), run, method, history)
    scale = estimate_scale(known, default_factor(run, method))
    return predict_removal(run, overview(run), question.test_idx, question.removed, scale, method)


def _shown_classes(run: Run, probabilities: NDArray[np.float32], needed: set[int]) -> list[int]:
    if not run.info.has_classes:
        return [0]
    likely = np.argsort(-probabilities, kind="stable").tolist()
    others = [c for c in likely if c not in needed]
    return sorted([*needed, *others[: MOST_CLASSES - len(needed)]])


def _model_outputs(run: Run, test_idx: int, label: int) -> NDArray[np.float64]:
    """Model outputs of all classes `[n_classes]`, mean over checkpoints; NaN where they are not known."""
    table = run.arrow(
        "SELECT model_output, probabilities FROM predictions WHERE split = 'test' AND idx = ? ORDER BY checkpoint_id",
        [test_idx],
    )
    if table.num_rows == 0:
        return np.full(len(run.info.class_names), np.nan)
    if run.info.has_classes:
        p = from_arrow_arrays(table, "probabilities").astype(np.float64)  # [n_checkpoints, n_classes]
        others = p.sum(1, keepdims=True) - p
        # Of the most probable class the others are summed: in float32 the whole less p is 0 where a model is very sure.
        models, top = np.arange(len(p)), p.argmax(1)
        rest = p.copy()
        rest[models, top] = 0
        others[models, top] = rest.sum(1)
        outputs = (np.log(np.maximum(p, _TINY)) - np.log(np.maximum(others, _TINY))).mean(0)
    else:
        outputs = np.zeros(1)
    of_label = np.array(
        [np.nan if value is None else value for value in table["model_output"].to_pylist()], dtype=float
    )
    if np.isfinite(of_label).all():
        outputs[label] = of_label.mean()
    return np.asarray(outputs)


_TINY = 1e-37


def _changes(
    run: Run,
    test_idx: int,
    method: str,
    label: int,
    classes: Sequence[int],
    removed: Sequence[int],
    factor: float | None,
) -> dict[int, float]:
    """Class to predicted change, for those of the classes that the method explains in units of the model output."""
    if factor is None:
        return {}
    others = [target_of_class(label, c) for c in classes if c != label] if run.in_model_units(method, target=1) else []
    table = run.arrow(
        'SELECT 0 AS target, "values" FROM scores WHERE method = ? AND test_idx = ? UNION ALL '
        'SELECT target, "values" FROM target_scores '
        "WHERE method = ? AND test_idx = ? AND target IN (SELECT unnest(?::INTEGER[]))",
        [method, test_idx, method, test_idx, others],
    )
    units = removal_units(from_arrow_arrays(table, "values"), removed)
    return {
        class_of_target(label, target): factor * float(unit)
        for target, unit in zip(table["target"].to_pylist(), units, strict=True)
    }


def _answer_after(p: NDArray[np.float32], changes: dict[int, float]) -> int:
    """The class with the highest predicted probability.

    Classes of which nothing is predicted share what the others leave, in the proportions that they have now.
    """
    now = np.clip(p.astype(np.float64), _TINY, None)
    after = now.copy()
    for c, change in changes.items():
        odds = now[c] / max(now.sum() - now[c], _TINY) * np.exp(change)
        after[c] = odds / (1 + odds)
    unknown = np.ones(len(p), dtype=bool)
    unknown[list(changes)] = False
    if unknown.any():
        left = max(0.0, 1.0 - float(after[~unknown].sum()))
        after[unknown] *= left / after[unknown].sum()
    return int(after.argmax())


def history_table(run: Run, method: str, known: Known, history: Sequence[Verified]) -> pd.DataFrame:
    """Predicted against actual changes of the label's margin, a row a verified what-if, in their order.

    Each is predicted by a scale that has not seen it; where scores have no unit, the prediction is empty. "from" and
    "to" are the ends of the 95% interval of the actual change, "models" those that were retrained.
    """
    of_all = with_what_ifs(known, run, method, history)
    predicted = leave_one_out(of_all, default_factor(run, method))[len(known.units) :]
    labels = [run.label("test", one.question.test_idx) for one in history]
    numbers = {
        "predicted": predicted,
        "actual": [one.change[label] for one, label in zip(history, labels, strict=True)],
        "from": [one.low[label] for one, label in zip(history, labels, strict=True)],
        "to": [one.high[label] for one, label in zip(history, labels, strict=True)],
        "answers changed": [one.share_flipped for one in history],
    }
    return pd.DataFrame(
        {
            "asked at": pd.to_datetime([one.asked_at for one in history], utc=True),
            "test example": [one.question.test_idx for one in history],
            "removed": [len(one.question.removed) for one in history],
            **{name: np.array(values, dtype=float) for name, values in numbers.items()},
            "models": [2 * one.n_pairs for one in history],
        }
    )


def what_if_text(predicted: Prediction, verified: Verified, title: str) -> str:
    """Predicted beside actual change of the model output, a line a class; `title` is that of the method."""
    removed = verified.question.removed
    named = ", ".join(map(str, removed[:MOST_NAMED])) + (" ..." if len(removed) > MOST_NAMED else "")
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
        lines.append(f"Predicted by {title}. Not calibrated for this run: an estimate until you verify it.")
    else:
        lines.append(
            f"Predicted by {title}; such predictions were off by {scale.typical_error:.2f} in the middle case of "
            f"{scale.n_known:,} removals."
        )
    flips = f": the answer changed in {verified.share_flipped:.0%} of the pairs" if len(verified.before) > 1 else ""
    lines.append(
        f"Retrained {verified.n_pairs} times with and without them{flips}. Found on "
        f"{verified.asked_at:%Y-%m-%d at %H:%M} UTC in {verified.seconds:.1f} s and kept in the history of the run."
    )
    return "\n".join(lines) + "\n"
