"""What is said and shown of a new input: its answer in words, and the train examples behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trak_core.evidence.lds_alone import lds_alone
from trak_core.live import LIVE_METHOD
from trak_core.live.new_input import ExplainedInput
from trak_core.store.ranking import Side
from trak_core.store.run import Run
from trak_core.views.examples import ScoredExample
from trak_core.views.explanation import ranked_train
from trak_core.views.model_quality import learnt_sentence, quality_of

if TYPE_CHECKING:
    from trak_core.live.scorer import Answer


def sides(run: Run, answer: Answer, target_class: int, side: Side, k: int = 12) -> list[ScoredExample]:
    """The `k` train examples at one end of the scores for a class, strongest first."""
    scores = answer.scores[run.check_class(target_class)].astype(np.float64)
    return ranked_train(run, scores, side, k, target_class)


@dataclass(frozen=True)
class AnswerWords:
    """What is said of a new input."""

    answer: str  # what the model says, and what is explained
    warning: str  # that the input is unlike the data; empty when it is not
    trust: str  # how far the scores can be believed


def answer_sentences(run: Run, new: ExplainedInput, target_class: int) -> AnswerWords:
    """The sentences about a new input and the class asked about."""
    answer, names = new.answer, run.info.class_names
    said = f"The model calls this “{names[answer.predicted]}”, {answer.probabilities[answer.predicted]:.0%} sure."
    if target_class != answer.predicted:
        said += f" It gives “{names[target_class]}” {answer.probabilities[target_class]:.1%}."
    said += f" Proponents spoke for “{names[target_class]}”, opponents against it."
    return AnswerWords(said, _warning(new), _trust(run, new, target_class))


def _warning(new: ExplainedInput) -> str:
    unlike = new.answer.unlike
    reasons = []
    if unlike.is_far:
        reasons.append(
            f"it is {unlike.distance / unlike.usual:.1f} times as far from every training example as 99 in 100 test "
            "examples are at most"
        )
    if unlike.has_unknown_words:
        reasons.append(
            f"the model knows {unlike.known:.0%} of its words, and at least {unlike.usual_known:.0%} of those in 99 in "
            "100 test texts"
        )
    if not reasons:
        return ""
    return f"This is unlike what the model was trained on: {'; '.join(reasons)}. Its answer may mean nothing."


def _trust(run: Run, new: ExplainedInput, target_class: int) -> str:
    learnt = learnt_sentence(quality_of(run))
    agreement = new.answer.agreement_for(target_class)
    if agreement is None:
        none = "How far these scores follow the stored ones could not be measured: no test example was left for it."
        return f"{none} {learnt}"
    digits = 3 if agreement.spearman >= 0.985 else 2  # where two would say 1
    sentence = (
        f"Scores of new inputs follow the stored ones at {agreement.spearman:.{digits}f} (rank correlation; 1 is the "
        f"same order) and share {agreement.top_overlap:.0f} of {agreement.n_top} top proponents, measured on "
        f"{agreement.n_test} test examples."
    )
    if run.has_lds and np.isfinite((measured := run.lds(LIVE_METHOD)).mean):
        fixed = f", and {measured.fixed:.2f} at fixed class counts" if np.isfinite(measured.fixed) else ""
        sentence += f" The stored ones predicted retrained models with LDS {measured.mean:.2f}{fixed}."
        if (alone := lds_alone(run, LIVE_METHOD)) is not None and alone.sentence:
            sentence += f" {alone.sentence}"
    return f"{sentence} {learnt}"
