"""A question about some tokens of a test text: which train texts are behind them, and which of their tokens.

Torch is imported when the first question is answered, so that pages open without waiting.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trak_core.live import LIVE_METHOD
from trak_core.media import Medium, Text, texts_of
from trak_core.modalities import Encoding, read_encoding
from trak_core.modalities.continuing import Continues
from trak_core.modalities.encoding import TokenPlace
from trak_core.store.local_paths import metadata_here
from trak_core.store.ranking import SIDES
from trak_core.store.run import Run
from trak_core.views.examples import Example, ScoredExample
from trak_core.views.explanation import Explanation, ranked_train, with_scores

if TYPE_CHECKING:
    from trak_core.live.agreement import Agreement
    from trak_core.live.continuing import ContinuedText
    from trak_core.live.tokens import AskedText

N_SHOWN = 6
"""Train texts of each side; a click waits for the marks of all of them."""
FAINTEST = 0.04
"""Marks of less than this part of the strongest one are left out: nobody sees them."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a test text."""

    text: str  # what it says
    places: range  # of the tokens that it is, which can be asked about; empty where it cannot
    carried: float  # what the train texts shown carry of the log odds of these tokens
    share: float  # the same as a part of the largest one, -1 to 1


@dataclass(frozen=True)
class TokenAnswer:
    """The answer to a question about tokens."""

    text: AskedText  # that is asked about
    scores: NDArray[np.float64]  # of all train examples for this question `[n_train]`
    proponents: list[ScoredExample]  # highest scores, best first, with marks in their texts
    opponents: list[ScoredExample]  # lowest scores, lowest first, likewise
    texts: tuple[tuple[str, tuple[Piece, ...]], ...]  # name and pieces of each text of the example
    asked: range | None  # places of the tokens asked about; None for all of them
    asked_text: str  # what they say
    n_told: int  # tokens of the example that can be asked about
    log_likelihood: float  # of one of them on average, in nats; NaN where the run does not hold it
    n_checkpoints: int  # that live scores are a mean over
    agreement: Agreement | None  # of live scores for whole texts with the stored ones

    @property
    def perplexity(self) -> float:
        """Of the example: how many tokens the model wavers between, on average."""
        return math.exp(-self.log_likelihood)

    def put_into(self, explanation: Explanation) -> Explanation:
        """An explanation with the scores of this question in the place of its own."""
        return with_scores(explanation, self.scores, self.proponents, self.opponents)


def asks_by_token(run: Run, method: str) -> bool:
    """True where a method answers questions about the tokens of a run's texts; quick."""
    encoding = None if run.info.has_classes or method != LIVE_METHOD else _encoding(run)
    if encoding is None or not encoding.has_tokens:
        return False
    from trak_core.live.tokens import why_no_tokens

    return why_no_tokens(run) is None


def goes_on(run: Run) -> bool:
    """True where models of a run go on with a text, and what they say can be asked about; quick."""
    return isinstance(_encoding(run), Continues) and asks_by_token(run, LIVE_METHOD)


def read_asked(words: str) -> range | None:
    """Places from words such as "5-9", or "5" for one; None for anything else."""
    found = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", words)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2] or found[1])
    return range(first, last + 1) if first <= last else None


def in_words(asked: range) -> str:
    """The words that `read_asked` reads."""
    return str(asked.start) if len(asked) == 1 else f"{asked.start}-{asked.stop - 1}"


def answer_tokens(run: Run, explanation: Explanation, asked: range | None) -> TokenAnswer:
    """The answer to a question about tokens of the test example of an explanation, all of them when None.

    About the whole text the ranking is that of the explanation, by stored scores; about some tokens it is by live ones.

    Raises:
        InvalidSettingError: nothing can be asked about these tokens.
        NeedNotMetError, RunMismatchError: as `trak_core.live.tokens.token_scorer`.
    """
    from trak_core.live.tokens import token_scorer

    scorer, test_idx = token_scorer(run), explanation.example.idx
    scores = explanation.scores if asked is None else scorer.scores(test_idx, asked)
    n_told = int(scorer.can_be_asked(test_idx).sum())
    return _answer(run, test_idx, explanation.example.media, asked, scores, _log_likelihood(run, test_idx, n_told))


def answer_own(run: Run, continued: ContinuedText, asked: range | None) -> TokenAnswer:
    """The answer to a question about tokens of a continuation, all of them when None; errors as in `answer_tokens`."""
    from trak_core.live.tokens import token_scorer

    scorer, text = token_scorer(run), continued.text
    return _answer(run, text, continued.media, asked, scorer.scores(text, asked), scorer.log_likelihood(text))


def _answer(
    run: Run,
    text: AskedText,
    media: Sequence[Medium],
    asked: range | None,
    scores: NDArray[np.floating],
    log_likelihood: float,
) -> TokenAnswer:
    from trak_core.live.tokens import token_scorer

    scorer = token_scorer(run)
    encoding = scorer.live.subject.dataset.encoding
    assert encoding is not None  # or there is no scorer
    proponents, opponents = (ranked_train(run, scores, side, N_SHOWN, 0) for side in SIDES)
    shown = [*proponents, *opponents]
    train_idx = np.array([item.example.idx for item in shown], dtype=np.int64)
    marked = _marked(encoding, [item.example for item in shown], scorer.marks(text, train_idx, asked))
    items = [replace(item, example=example) for item, example in zip(shown, marked, strict=True)]
    told, can_be_asked = encoding.tokens_told(texts_of(media)), scorer.can_be_asked(text)
    assert told is not None
    carried = scorer.carried(text, train_idx)
    texts = tuple(
        (medium.name, tuple(_pieces(medium.text, _of_text(told, can_be_asked, number), carried)))
        for number, medium in enumerate(medium for medium in media if isinstance(medium, Text))
    )
    return TokenAnswer(
        text=text,
        scores=scores.astype(np.float64),
        proponents=items[: len(proponents)],
        opponents=items[len(proponents) :],
        texts=texts,
        asked=asked,
        asked_text="" if asked is None else _said(texts, asked),
        n_told=int(can_be_asked.sum()),
        log_likelihood=log_likelihood,
        n_checkpoints=len(scorer.checkpoints),
        agreement=scorer.agreement,
    )


def mark_tokens(run: Run, example: Example, answer: TokenAnswer) -> Example:
    """A train example with the tokens marked that carry its score for a question; errors as in `answer_tokens`."""
    from trak_core.live.tokens import token_scorer

    scorer = token_scorer(run)
    encoding = scorer.live.subject.dataset.encoding
    assert encoding is not None
    return _marked(encoding, [example], scorer.marks(answer.text, np.array([example.idx]), answer.asked))[0]


def _log_likelihood(run: Run, test_idx: int, n_told: int) -> float:
    query = "SELECT avg(loss) FROM predictions WHERE split = 'test' AND idx = ?"
    loss = run.rows(query, [test_idx])[0][0]
    return float("nan") if loss is None else -float(loss) / n_told


def _encoding(run: Run) -> Encoding | None:
    return read_encoding(metadata_here(run).get("encoding"))


def _of_text(told: Sequence[TokenPlace], can_be_asked: NDArray[np.bool_], number: int) -> list[tuple[int, int, range]]:
    """Start, end and place of the tokens of one text, empty where they cannot be asked about."""
    return [
        (token.start, token.end, range(place, place + bool(can_be_asked[place])))
        for place, token in enumerate(told[: len(can_be_asked)])
        if token.text == number and token.start < token.end
    ]


def _pieces(text: str, tokens: Sequence[tuple[int, int, range]], carried: NDArray[np.float32]) -> Iterator[Piece]:
    """A text in pieces: tokens, and what stands between them; tokens that share a letter are one piece."""
    strongest, at = float(np.abs(carried).max()) or 1.0, 0
    joined: list[tuple[int, int, range]] = []
    for start, end, places in tokens:
        if joined and start < joined[-1][1]:  # a letter of several tokens
            first, stop, before = joined.pop()
            joined.append((first, max(stop, end), range(before.start, places.stop)))
        else:
            joined.append((start, end, places))
    for start, end, places in joined:
        if at < start:
            yield Piece(text[at:start], range(0), 0.0, 0.0)
        value = float(carried[places.start : places.stop].sum())
        yield Piece(text[start:end], places, value, value / strongest)
        at = end
    if at < len(text):
        yield Piece(text[at:], range(0), 0.0, 0.0)


def _said(texts: Sequence[tuple[str, Sequence[Piece]]], asked: range) -> str:
    """What the tokens asked about say, with what stands between them."""
    parts = []
    for _, pieces in texts:
        inside = [i for i, piece in enumerate(pieces) if set(piece.places) & set(asked)]
        if inside:
            parts.append("".join(piece.text for piece in pieces[inside[0] : inside[-1] + 1]))
    return " … ".join(parts)


def _marked(encoding: Encoding, examples: Sequence[Example], marks: Sequence[NDArray[np.float32]]) -> list[Example]:
    """The examples with marks in their texts, by what each token carries `[n, length]`: of those read, then of others.

    Weights are parts of the strongest of all, so that they can be compared from example to example.
    """
    strongest = max(float(np.abs(side).max()) for side in marks) or 1.0
    found = []
    for row, example in enumerate(examples):
        texts = texts_of(example.media)
        of_text: list[list[tuple[int, int, float]]] = [[] for _ in texts]
        for side, places in zip(marks, (encoding.tokens_read, encoding.tokens_told), strict=False):
            for value, place in zip(side[row].tolist(), places(texts) or (), strict=False):
                if abs(value) >= FAINTEST * strongest and place.start < place.end:
                    of_text[place.text].append((place.start, place.end, value / strongest))
        found.append(replace(example, media=_with_marks(example.media, of_text)))
    return found


def _with_marks(media: Sequence[Medium], marks: list[list[tuple[int, int, float]]]) -> tuple[Medium, ...]:
    of_text = iter(marks)
    return tuple(
        replace(medium, marks=tuple(sorted(next(of_text)))) if isinstance(medium, Text) else medium for medium in media
    )
