"""The answer to "which training examples made the model say this?", with how far it can be trusted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.evidence.lds import TrustLevel, capped
from trak_core.evidence.lds_alone import lds_alone
from trak_core.evidence.model_quality import ModelQuality
from trak_core.modalities import Encoding, read_encoding
from trak_core.modalities.encoding import Word, plain_words
from trak_core.store.ranking import SIDES, Side, strongest
from trak_core.store.run import Run
from trak_core.store.targets import DEFAULT
from trak_core.views.answer_words import has_answer
from trak_core.views.browse import TestOverview
from trak_core.views.controls import control_verdict
from trak_core.views.examples import Example, ScoredExample, read_examples
from trak_core.views.model_quality import blindness, quality_of
from trak_core.views.not_measured import why_no_fixed_lds

TOP_SHARE = 10
N_BINS = 61
HUB_DEPTH = 20


@dataclass(frozen=True)
class Trust:
    """How well the method predicted retrained models for this very test example and class."""

    level: TrustLevel  # "high", "moderate", "low" or "not measured"
    lds: float | None = None  # the LDS, None when not measured or undefined
    ci_low: float | None = None  # lower end of its 95% interval
    ci_high: float | None = None  # upper end
    noise_ceiling: float | None = None  # the highest LDS attainable for this example, None where unknown
    lds_fixed: float | None = None  # the LDS at fixed class counts, None where it cannot be measured
    fixed_low: float | None = None  # lower end of its 95% interval
    fixed_high: float | None = None  # upper end
    fixed_ceiling: float | None = None  # the highest LDS at fixed class counts attainable for it, None where unknown
    reason: str = ""  # why it is no higher, in a sentence, where the LDS alone does not tell
    why_not_fixed: str = ""  # why there is no LDS at fixed class counts, in a sentence; empty where there is
    controls: str = ""  # which simple rule does as well on this run, in a sentence; empty where none does
    is_undefined: bool = False  # True where it was measured and there is no LDS: one of both sides never changes

    @property
    def sentences(self) -> list[str]:
        """What goes with the level, for places that show no more than words."""
        return [sentence for sentence in (self.reason, self.controls) if sentence]


@dataclass(frozen=True)
class Explanation:
    """Everything that is shown about one test example and one target."""

    example: Example  # the test example
    predicted: int  # the model's answer; -1 where the run does not hold it
    predicted_name: str  # the answer in words
    # its probability, averaged over checkpoints; None where there are no classes or it is not known
    confidence: float | None
    probabilities: NDArray[np.float32]  # of all classes `[n_classes]`
    target: int  # whose model output is explained; 0 is the default of the test example
    target_name: str  # its name
    target_class: int | None  # the class that it asks about; None where there are no classes
    method: str  # that made the scores
    has_answer: bool  # False where the model has no answer of its own, and `predicted_name` is the model output
    in_model_units: bool  # True when scores estimate changes of the margin; baselines' scores have no unit
    scores: NDArray[np.float64]  # of all train examples `[n_train]`
    proponents: list[ScoredExample]  # highest scores, best first
    opponents: list[ScoredExample]  # lowest scores, lowest first
    bin_edges: NDArray[np.float64]  # of the histogram over all train examples `[n_bins + 1]`
    bin_counts: NDArray[np.int64]  # train examples in each bin `[n_bins]`
    top_share: float  # part of the sum of absolute scores that the 10 strongest train examples carry, 0 to 1
    trust: Trust  # of this explanation
    quality: ModelQuality | None  # of the models that it explains, which is another matter; None where not measured
    # of the test example's text, rare ones only, to be marked where they come again
    words: tuple[str, ...] = ()
    words_in: Callable[[str], list[Word]] = plain_words  # where the words of a text are, as the model tells them apart

    @property
    def is_right(self) -> bool:
        """True when the model's answer is the label."""
        return self.predicted == self.example.label

    def parts(self, text: str) -> list[str]:
        """The text in parts, of which every second one is a word to be marked."""
        found, done, rare = [], 0, set(self.words)
        for start, end, word in self.words_in(text):
            if word in rare:
                found += [text[done:start], text[start:end]]
                done = end
        return [*found, text[done:]]


def explain(
    run: Run, tests: TestOverview, test_idx: int, target: int | None = None, method: str | None = None, k: int = 12
) -> Explanation:
    """The explanation of one test example, by the run's own method where none is given, with `k` examples a side.

    Without a target it asks about the model's own answer, or about the default where that is not known or no class. A
    method that explains default targets only is taken to mean that one, whatever is given.

    Raises:
        NotInRunError: there is no such test example, method or target.
    """
    test_idx, method = run.check_test(test_idx), run.check_method(method)
    example = read_examples(run, "test", [test_idx])[0]
    predicted = int(tests.predicted[test_idx])
    if target is None:
        target = answer_target(run, tests, test_idx, method)
    elif run.check_target(test_idx, target) and not run.explains_targets(method):
        target = DEFAULT
    target_class = run.class_of_target(test_idx, target)
    encoding = read_encoding(run.info.provenance.get("encoding")) if example.text else None
    return Explanation(
        example=example,
        predicted=predicted,
        predicted_name=tests.answers[test_idx],
        confidence=float(tests.confidence[test_idx]) if run.info.has_classes and predicted >= 0 else None,
        probabilities=tests.probabilities[test_idx],
        target=target,
        target_name=run.targets(test_idx)[target],
        target_class=target_class if run.info.has_classes else None,
        method=method,
        has_answer=has_answer(run),
        in_model_units=run.in_model_units(method, target),
        **_ranking(run, run.score_row(test_idx, method, target).astype(np.float64), k, target_class),
        trust=_trust(run, tests, test_idx, method, target),
        quality=quality_of(run, tests),
        words=_telling_words(encoding, example.text),
        words_in=plain_words if encoding is None else encoding.words_in,
    )


def with_scores(
    explanation: Explanation,
    scores: NDArray[np.floating],
    proponents: list[ScoredExample],
    opponents: list[ScoredExample],
) -> Explanation:
    """The explanation with other scores `[n_train]` of the train examples, and the strongest of them."""
    return replace(explanation, **_spread(scores.astype(np.float64)), proponents=proponents, opponents=opponents)


def _ranking(run: Run, scores: NDArray[np.float64], k: int, target_class: int) -> dict[str, Any]:
    """The part of an explanation that follows from scores."""
    sides = {f"{side}s": ranked_train(run, scores, side, k, target_class) for side in SIDES}
    return {**_spread(scores), **sides}


def _spread(scores: NDArray[np.float64]) -> dict[str, Any]:
    counts, edges = np.histogram(scores, bins=N_BINS)
    magnitudes = np.sort(np.abs(scores))[::-1]
    total = float(magnitudes.sum())
    return {
        "scores": scores,
        "bin_edges": edges,
        "bin_counts": counts,
        "top_share": float(magnitudes[:TOP_SHARE].sum() / total) if total > 0 else 0.0,
    }


def answer_target(run: Run, tests: TestOverview, test_idx: int, method: str | None = None) -> int:
    """The target that asks a test example about the model's own answer.

    The default target where the answer is not known or no class, or where the method explains nothing else. The number
    of the test example must be valid.
    """
    predicted = int(tests.predicted[test_idx])
    if not run.info.has_classes or predicted < 0 or not run.explains_targets(run.check_method(method)):
        return DEFAULT
    target = run.target_of_class(test_idx, predicted)
    return target if target in run.targets(test_idx) else DEFAULT


def _telling_words(encoding: Encoding | None, text: str) -> tuple[str, ...]:
    """Words of a text that few texts have: by what the encoding knows, or else those of more than three letters."""
    words = {word for _, _, word in (plain_words(text) if encoding is None else encoding.words_in(text))}
    common = None if encoding is None else encoding.common_words()
    if common is None:
        common = frozenset(word for word in words if len(word) <= 3)
    return tuple(sorted(words - common))


def ranked_train(run: Run, scores: NDArray[np.floating], side: Side, k: int, target_class: int) -> list[ScoredExample]:
    """The `k` train examples at one end of the scores `[n_train]` for a class, strongest first."""
    examples = read_examples(run, "train", strongest(scores, side, k).tolist())
    return [
        ScoredExample(example, float(scores[example.idx]), rank, example.label == target_class)
        for rank, example in enumerate(examples, start=1)
    ]


def lds_of(run: Run, method: str, test_idx: int, target: int) -> Trust:
    """What retraining says of one explanation by itself; all that is given must be valid."""
    columns = "trust, lds, ci_low, ci_high, noise_ceiling, lds_fixed, fixed_low, fixed_high, fixed_ceiling"
    query = f"SELECT {columns} FROM {{}} WHERE method = ? AND test_idx = ?"
    if target == DEFAULT:
        rows = run.rows(query.format("lds"), [method, test_idx])
    else:
        rows = run.rows(query.format("target_lds") + " AND target = ?", [method, test_idx, target])
    if not rows:
        return Trust("not measured")
    found = Trust(*rows[0])
    return replace(found, is_undefined=found.lds is None)


def _trust(run: Run, tests: TestOverview, test_idx: int, method: str, target: int) -> Trust:
    found, blind = lds_of(run, method, test_idx, target), blindness(run, tests)
    is_missing, alone = found.lds is not None and found.lds_fixed is None, lds_alone(run, method)
    level, reason = found.level, blind.reason_for(test_idx)
    if alone is not None:
        level, reason = capped(level, alone.cap), reason or alone.reason_for(found.ci_low)
    return replace(
        found,
        level=blind.cap(level, test_idx),
        reason=reason,
        why_not_fixed=why_no_fixed_lds(run) if is_missing else "",
        controls=f"Over all test examples: {rivals}" if (rivals := control_verdict(run, method).sentence) else "",
    )


@dataclass(frozen=True)
class TrainRole:
    """The part that one train example plays in an explanation and in the run."""

    example: Example  # the train example
    score: float  # in this explanation
    rank: int  # of that score among all train examples, 1 for the strongest proponent
    n_helped: int  # test examples that have it among their 20 strongest proponents
    n_hurt: int  # test examples that have it among their 20 strongest opponents
    standard_error: float | None = None  # of the score over checkpoints; None where it is not kept


def train_role(
    run: Run,
    train_idx: int,
    test_idx: int,
    target: int = DEFAULT,
    method: str | None = None,
    scores: NDArray[np.floating] | None = None,
) -> TrainRole:
    """The part that a train example plays in the explanation of a test example.

    `scores` `[n_train]` stand in the place of the stored ones where something else is asked.

    Raises:
        NotInRunError: there is no such train example, test example, method or target.
    """
    train_idx, method = run.check_train(train_idx), run.check_method(method)
    stored = run.score_row(test_idx, method, target)
    scores, is_stored = (stored, True) if scores is None else (scores, np.array_equal(scores, stored))
    counts = dict(
        run.rows(
            "SELECT side, count(*) FROM topk WHERE method = ? AND train_idx = ? AND rank <= ? GROUP BY side",
            [method, train_idx, HUB_DEPTH],
        )
    )
    errors = run.rows(
        "SELECT standard_error FROM topk WHERE ? AND method = ? AND test_idx = ? AND train_idx = ? LIMIT 1",
        [is_stored and target == DEFAULT, method, test_idx, train_idx],
    )
    return TrainRole(
        example=read_examples(run, "train", [train_idx])[0],
        score=float(scores[train_idx]),
        rank=1 + int((scores > scores[train_idx]).sum()),
        n_helped=counts.get("proponent", 0),
        n_hurt=counts.get("opponent", 0),
        standard_error=errors[0][0] if errors else None,
    )


def explanation_table(explanation: Explanation) -> pd.DataFrame:
    """The proponents and opponents shown, a row each."""
    sides = (("proponent", explanation.proponents), ("opponent", explanation.opponents))
    about = (explanation.example.idx, explanation.target_name, explanation.method)
    rows = [
        (*about, side, item.rank, item.example.idx, item.score, item.example.label_name, item.example.origin)
        for side, items in sides
        for item in items
    ]
    columns = ["test_idx", "target", "method", "side", "rank", "train_idx", "score", "label_name", "origin"]
    return pd.DataFrame(rows, columns=columns)
