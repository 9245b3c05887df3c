"""A test text by its tokens: what each owes to the training texts shown, and the question about some of them.

The question lies in the address as `tokens=5-9`, and belongs to one test example of one run.
"""

from collections.abc import Callable
from typing import NoReturn

import streamlit as st

from pages.components.address import leave_out
from pages.components.assets import asset
from pages.components.runs import kept_per_run
from pages.components.text import plain, shortened, told
from pages.components.view import Words, note, say, show_error
from trak_core.errors import InvalidSettingError, TrakCoreError
from trak_core.store.run import Run
from trak_core.views.examples import Example
from trak_core.views.explanation import Explanation
from trak_core.views.media_html import mark_colour
from trak_core.views.token_question import (
    Piece,
    TokenAnswer,
    answer_tokens,
    asks_by_token,
    in_words,
    mark_tokens,
    read_asked,
)

KEY = "tokens"
_COLOURS = (
    "In the test text blue tokens owe log odds to the training texts shown, and orange ones lose some by them; in "
    "these, blue tokens speak for what is asked, orange ones against it. Deeper is stronger."
)
_HELD = "example that tokens are asked of"
_COMPONENT = st.components.v2.component(
    "tokens", html='<div class="tokens"></div>', css=asset("tokens.css"), js=asset("elements.js", "tokens.js")
)


def asked_tokens(run: Run, test_idx: int) -> range | None:
    """The tokens that the address asks about; None for all of them."""
    words, held = st.query_params.get(KEY), st.session_state.get(_HELD)
    here = run.info.name, test_idx, words
    if words is not None and held is not None and held[:2] != here[:2] and held[2] == words:
        st.query_params.pop(KEY, None)  # of another example, that was looked at before
        words = None
    st.session_state[_HELD] = (*here[:2], words)
    if words is None:
        return None
    asked = read_asked(words)
    if asked is None:
        leave_out_tokens(f"The address asks about the tokens “{plain(words[:60])}”; give places as in 5 or 5-9.")
    return asked


def leave_out_tokens(notice: str) -> NoReturn:
    """Begins the page anew about the whole text, with a notice."""
    leave_out(KEY, f"{notice} This is about the whole text.")


def _ask() -> None:
    words = st.session_state[KEY].asked
    if words == "all":
        st.query_params.pop(KEY, None)
    elif (asked := read_asked(str(words))) is not None:
        st.query_params[KEY] = in_words(asked)
        run, test_idx, _ = st.session_state[_HELD]
        st.session_state[_HELD] = (run, test_idx, in_words(asked))


@kept_per_run(max_entries=64)
def _answered(run: Run, test_idx: int, asked: tuple[int, int] | None, _explanation: Explanation) -> TokenAnswer:
    return answer_tokens(run, _explanation, None if asked is None else range(*asked))


def token_answer(run: Run, explanation: Explanation) -> TokenAnswer | None:
    """The answer to what the address asks about tokens; None where the method of an explanation cannot tell."""
    if not asks_by_token(run, explanation.method):
        if KEY in st.query_params and run.info.name == st.session_state.get(_HELD, (run.info.name,))[0]:
            leave_out_tokens("Tokens are asked about by TRAK, in runs of language models.")
        st.query_params.pop(KEY, None)
        return None
    test_idx = explanation.example.idx
    asked = asked_tokens(run, test_idx)
    try:
        with st.spinner("The models are made ready for questions, once …", show_time=False):
            return _answered(run, test_idx, None if asked is None else (asked.start, asked.stop), explanation)
    except InvalidSettingError as error:
        leave_out_tokens(told(error))
    except TrakCoreError as error:
        show_error(error)
        return None


def token_text(
    answer: TokenAnswer,
    key: str = KEY,
    label: str = "tokens of the test example",
    on_ask: Callable[[], None] = _ask,
) -> None:
    """A text, each token coloured by what the training texts shown carry of its log odds; a click asks."""
    note(key, Words(_text_of(answer)))
    asked = answer.asked
    _COMPONENT(
        key=key,
        data={
            "label": label,
            "asked": None if asked is None else [asked.start, asked.stop - 1],
            "texts": [{"name": name, "pieces": [_piece(piece) for piece in pieces]} for name, pieces in answer.texts],
        },
        on_asked_change=on_ask,
    )


def say_question(answer: TokenAnswer) -> None:
    """How well the text is told, what is asked, what the colours mean, and how far live scores can be believed."""
    if answer.log_likelihood == answer.log_likelihood:
        each = f"log-likelihood {answer.log_likelihood:.2f} a token, perplexity {answer.perplexity:,.0f}"
        say("likelihood", f"The models tell its {answer.n_told:,} tokens with a mean {each}.")
    say("question", asked_sentence(answer, "What-ifs and trust are about the whole text."))
    for key, sentence in (("colours", _COLOURS), ("agreement", agreement_sentence(answer))):
        if sentence:
            say(key, sentence, lambda sentence: st.caption(plain(sentence)))


def asked_sentence(answer: TokenAnswer, note: str = "") -> str:
    """Which tokens are asked about, and how; a `note` goes with a question about some of them."""
    if answer.asked is None:
        return f"All {answer.n_told:,} tokens are asked about; click one, or drag over several, to ask about these."
    made = f"scores are made live, by {answer.n_checkpoints} checkpoints."
    return f"Asked about “{shortened(answer.asked_text, 60)}” alone; {made} {note}".rstrip()


def agreement_sentence(answer: TokenAnswer) -> str:
    """How far scores made live follow the stored ones; empty where that could not be measured."""
    found = answer.agreement
    if found is None:
        return ""
    return (
        f"Live scores of whole texts follow the stored ones: rank correlation {found.spearman:.2f}, "
        f"{found.top_overlap:.0f} of the {found.n_top} strongest proponents alike ({found.n_test} test examples)."
    )


def marked_by(run: Run, answer: TokenAnswer | None) -> Callable[[Example], Example]:
    """What marks the tokens of a train example that carry its score; nothing without an answer."""
    if answer is None:
        return lambda example: example
    return lambda example: mark_tokens(run, example, answer)


def _piece(piece: Piece) -> dict[str, object]:
    if not piece.places:
        return {"text": piece.text, "places": None}
    return {
        "text": piece.text,
        "places": [piece.places.start, piece.places.stop - 1],
        "title": f"{piece.text.strip() or 'blank'}: {piece.carried:+.3g}",
        "colour": mark_colour(piece.share),
    }


def _text_of(answer: TokenAnswer) -> str:
    return " ".join("".join(piece.text for piece in pieces) for _, pieces in answer.texts)
