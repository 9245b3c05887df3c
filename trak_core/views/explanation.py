"""The answer to "which training examples made the model say this?", with how far it can be trusted."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trak_core.evidence.trust import TrustLevel
from trak_core.modalities import read_encoding
from trak_core.store.ranking import strongest
from trak_core.store.run import Run
from trak_core.views.browse import TestOverview
from trak_core.views.examples import Example, read_examples

__all__ = ["Attributed", "Explanation", "TrainRole", "Trust", "explain", "explanation_table", "train_role"]

_WORD = re.compile(r"\w+")
TOP_SHARE = 10
N_BINS = 61
HUB_DEPTH = 20


@dataclass(frozen=True)
class Trust:
    """How well the method predicted retrained models for this very test example and class.

    Attributes:
        level: "high", "moderate", "low" or "not measured".
        lds: the LDS, None when not measured or undefined.
        ci_low: lower end of its 95% interval.
        ci_high: upper end.
        noise_ceiling: the highest LDS attainable for this example, None where unknown.
    """

    level: TrustLevel
    lds: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    noise_ceiling: float | None = None


@dataclass(frozen=True)
class Attributed:
    """A train example in an explanation.

    Attributes:
        rank: from 1, on its side.
        score: of the method, in units of the model output unless the explanation says otherwise.
        example: the train example.
        is_asked_class: True when its label is the class asked about.
    """

    rank: int
    score: float
    example: Example
    is_asked_class: bool


@dataclass(frozen=True)
class Explanation:
    """Everything that is shown about one test example and one asked class.

    Attributes:
        example: the test example.
        predicted: the model's answer; -1 where the run does not hold it.
        predicted_name: the answer in words.
        confidence: its probability, averaged over checkpoints; None where there are no classes or it is not known.
        probabilities: of all classes `[n_classes]`.
        asked_class: the class whose model output is explained.
        asked_name: its name.
        method: that made the scores.
        in_model_units: True when scores estimate changes of the margin; baselines' scores have no unit.
        proponents: highest scores, best first.
        opponents: lowest scores, lowest first.
        bin_edges: of the histogram over all train examples `[n_bins + 1]`.
        bin_counts: train examples in each bin `[n_bins]`.
        top_share: part of the sum of absolute scores that the 10 strongest train examples carry, 0 to 1.
        trust: of this explanation.
        words: of the test example's text in small letters, rare ones only, to be marked where they come again.
    """

    example: Example
    predicted: int
    predicted_name: str
    confidence: float | None
    probabilities: NDArray[np.float32]
    asked_class: int
    asked_name: str
    method: str
    in_model_units: bool
    proponents: list[Attributed]
    opponents: list[Attributed]
    bin_edges: NDArray[np.float64]
    bin_counts: NDArray[np.int64]
    top_share: float
    trust: Trust
    words: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """True when the model's answer is the label."""
        return self.predicted == self.example.label


def explain(
    run: Run,
    tests: TestOverview,
    test_idx: int,
    asked_class: int | None = None,
    method: str | None = None,
    k: int = 12,
) -> Explanation:
    """The explanation of one test example.

    Args:
        run: with scores.
        tests: `overview` of the run.
        test_idx: of the test example.
        asked_class: None asks about the model's own answer. A method that explains only the label is taken to mean
            that, whatever was asked, and where the answer is not known the label is asked about.
        method: the run's own method by default.
        k: length of each side.

    Raises:
        NotInRunError: there is no such test example, method or class.
    """
    test_idx, method = run.check_test(test_idx), run.check_method(method)
    example = read_examples(run, "test", [test_idx])[0]
    predicted = int(tests.predicted[test_idx])
    answer = predicted if predicted >= 0 else example.label
    asked = answer if asked_class is None else run.check_class(asked_class)
    if asked != example.label and not run.explains_any_class(method):
        asked = example.label
    scores = run.score_row(test_idx, method, asked).astype(np.float64)
    counts, edges = np.histogram(scores, bins=N_BINS)
    magnitudes = np.sort(np.abs(scores))[::-1]
    total = float(magnitudes.sum())
    return Explanation(
        example=example,
        predicted=predicted,
        predicted_name=tests.answers[test_idx],
        confidence=float(tests.confidence[test_idx]) if run.info.has_classes and predicted >= 0 else None,
        probabilities=tests.probabilities[test_idx],
        asked_class=asked,
        asked_name=run.info.class_names[asked],
        method=method,
        in_model_units=run.in_model_units(method, asked == example.label),
        proponents=_attributed(run, scores, strongest(scores, "proponent", k), asked),
        opponents=_attributed(run, scores, strongest(scores, "opponent", k), asked),
        bin_edges=edges,
        bin_counts=counts,
        top_share=float(magnitudes[:TOP_SHARE].sum() / total) if total > 0 else 0.0,
        trust=_trust(run, test_idx, method, asked, example.label),
        words=_telling_words(run, example.text),
    )


def _telling_words(run: Run, text: str) -> tuple[str, ...]:
    """Words of a text that few texts have: by what the encoding knows, or else those of more than three letters."""
    words = set(_WORD.findall(text.lower()))
    encoding = read_encoding(run.info.provenance.get("encoding")) if words else None
    common = None if encoding is None else encoding.common_words()
    if common is None:
        common = frozenset(word for word in words if len(word) <= 3)
    return tuple(sorted(words - common))


def _attributed(run: Run, scores: NDArray[np.float64], order: NDArray[np.int64], asked: int) -> list[Attributed]:
    examples = read_examples(run, "train", order.tolist())
    return [
        Attributed(rank, float(scores[example.idx]), example, example.label == asked)
        for rank, example in enumerate(examples, start=1)
    ]


def _trust(run: Run, test_idx: int, method: str, asked: int, label: int) -> Trust:
    if asked == label:
        rows = run.rows(
            "SELECT trust, lds, ci_low, ci_high, noise_ceiling FROM lds WHERE method = ? AND test_idx = ?",
            [method, test_idx],
        )
    else:
        rows = run.rows(
            "SELECT trust, lds, ci_low, ci_high, noise_ceiling FROM class_lds "
            "WHERE method = ? AND test_idx = ? AND asked_class = ?",
            [method, test_idx, asked],
        )
    return Trust(*rows[0]) if rows else Trust("not measured")


@dataclass(frozen=True)
class TrainRole:
    """The part that one train example plays in an explanation and in the run.

    Attributes:
        example: the train example.
        score: in this explanation.
        rank: of that score among all train examples, 1 for the strongest proponent.
        n_train: number of train examples.
        n_helped: test examples that have it among their 20 strongest proponents.
        n_hurt: test examples that have it among their 20 strongest opponents.
        standard_error: of the score over checkpoints; None where it is not kept.
    """

    example: Example
    score: float
    rank: int
    n_train: int
    n_helped: int
    n_hurt: int
    standard_error: float | None = None


def train_role(
    run: Run, train_idx: int, test_idx: int, asked_class: int | None = None, method: str | None = None
) -> TrainRole:
    """The part that a train example plays in the explanation of a test example.

    Raises:
        NotInRunError: there is no such train example, test example, method or class.
    """
    train_idx, method = run.check_train(train_idx), run.check_method(method)
    scores = run.score_row(test_idx, method, asked_class)
    counts = dict(
        run.rows(
            "SELECT side, count(*) FROM topk WHERE method = ? AND train_idx = ? AND rank <= ? GROUP BY side",
            [method, train_idx, HUB_DEPTH],
        )
    )
    of_label = asked_class is None or asked_class == run.label("test", run.check_test(test_idx))
    errors = run.rows(
        "SELECT standard_error FROM topk WHERE ? AND method = ? AND test_idx = ? AND train_idx = ? LIMIT 1",
        [of_label, method, test_idx, train_idx],
    )
    return TrainRole(
        example=read_examples(run, "train", [train_idx])[0],
        score=float(scores[train_idx]),
        rank=1 + int((scores > scores[train_idx]).sum()),
        n_train=run.info.n_train,
        n_helped=counts.get("proponent", 0),
        n_hurt=counts.get("opponent", 0),
        standard_error=errors[0][0] if errors else None,
    )


def explanation_table(explanation: Explanation) -> pd.DataFrame:
    """The proponents and opponents shown, a row each."""
    rows = [
        {
            "test_idx": explanation.example.idx,
            "asked_class": explanation.asked_name,
            "method": explanation.method,
            "side": side,
            "rank": item.rank,
            "train_idx": item.example.idx,
            "score": item.score,
            "label_name": item.example.label_name,
        }
        for side, items in (("proponent", explanation.proponents), ("opponent", explanation.opponents))
        for item in items
    ]
    return pd.DataFrame(rows)
