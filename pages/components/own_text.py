"""A prompt of one's own: the model goes on, and its continuation, or another, is explained by the token."""

import streamlit as st

from pages.components.address import go_to_train
from pages.components.cards import side_items, side_title
from pages.components.gallery import gallery
from pages.components.text import plain
from pages.components.tokens import agreement_sentence, asked_sentence, token_text
from pages.components.view import show_error
from trak_core.errors import TrakCoreError
from trak_core.live.new_input import example_text
from trak_core.store.ranking import SIDES
from trak_core.store.run import Run
from trak_core.views.token_question import TokenAnswer, answer_own, read_asked

_PROMPT, _CONTINUATION, _TOKENS = "new prompt", "new continuation", "new tokens"
_SAID, _ASKED, _ANSWER = "prompt that was gone on with", "tokens asked of own text", "answer about own text"
_LIKELY, _DRAWN = "Most likely", "Drawn"
MOST_CHARACTERS = 20_000


def own_text(run: Run) -> None:
    """Takes a prompt, has the models go on, and explains what they say, or what a person puts in its place.

    Costs nothing until a prompt is typed.
    """
    form, answered = st.columns([1, 2])
    with form:
        st.text_area(
            "Prompt",
            key=_PROMPT,
            height=100,
            max_chars=MOST_CHARACTERS,
            placeholder=example_text(run),
            help="Press Ctrl+Enter, or click beside it: the models of this run go on with it.",
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            most = st.number_input("New tokens at most", 1, 100, 20, key="most new tokens", width=150)
            way = st.segmented_control("Each token", [_LIKELY, _DRAWN], default=_LIKELY, required=True, key="new way")
            drawn = way == _DRAWN
            seed = int(st.number_input("Seed", 0, 2**31 - 1, 0, key="seed of new tokens", width=120)) if drawn else None
        try:
            with answered:
                prompt = _go_on(run, int(most), seed)
        except TrakCoreError as error:
            st.session_state[_CONTINUATION] = ""  # nothing of another prompt stays
            prompt = str(st.session_state[_PROMPT])
            with answered:
                show_error(error)
        if prompt:
            st.text_area(
                "Continuation",
                key=_CONTINUATION,
                height=100,
                max_chars=MOST_CHARACTERS,
                help="What the models say. Put another in its place, and that is explained.",
            )
    with answered:
        if not prompt:
            st.caption("Type a prompt: the model goes on, and its continuation is explained here, token by token.")
        elif st.session_state[_CONTINUATION].strip():
            try:
                _explain(run, prompt, str(st.session_state[_CONTINUATION]))
            except TrakCoreError as error:
                show_error(error)


def _go_on(run: Run, most: int, seed: int | None) -> str:
    """The prompt, empty where there is none; the continuation of a new one takes the place of the last one's."""
    prompt = str(st.session_state[_PROMPT] or "")
    key = (str(run.path), run.generation, prompt, most, seed)
    if not prompt.strip() or st.session_state.get(_SAID) == key:
        return prompt if prompt.strip() else ""
    from trak_core.live.continuing import continue_text  # takes seconds to import

    st.session_state[_SAID] = key
    with st.spinner("The models go on; the first time, they are made ready …", show_time=False):
        st.session_state[_CONTINUATION] = continue_text(run, prompt, most, seed)
    return prompt


def _explain(run: Run, prompt: str, continuation: str) -> None:
    key = (str(run.path), run.generation, prompt, continuation)
    held, words = st.session_state.get(_ANSWER), None
    if held is not None and held[0] == key:
        words = st.session_state.get(_ASKED)
    asked = None if words is None else read_asked(words)
    if held is None or held[0] != key or held[2].asked != asked:
        from trak_core.live.continuing import continued_text

        text = held[1] if held is not None and held[0] == key else continued_text(run, prompt, continuation)
        st.session_state[_ASKED] = words
        held = st.session_state[_ANSWER] = (key, text, answer_own(run, text, asked))
    _show(run, held[2])


def _show(run: Run, answer: TokenAnswer) -> None:
    st.text(
        f"The models tell the {answer.n_told:,} tokens that follow with a mean log-likelihood "
        f"{answer.log_likelihood:.2f} a token, perplexity {answer.perplexity:,.0f}."
    )
    st.text(asked_sentence(answer))
    token_text(answer, _TOKENS, "tokens of your text", _ask)
    for column, side in zip(st.columns(2), SIDES, strict=True):
        with column:
            st.markdown(side_title(side))
            gallery(
                f"{side} of your text",
                side_items(answer.proponents if side == "proponent" else answer.opponents, side),
                key=f"own {side}s",
                on_pick=go_to_train,
                selected=st.session_state.get("train"),
            )
    if sentence := agreement_sentence(answer):
        st.caption(plain(sentence))


def _ask() -> None:
    words = str(st.session_state[_TOKENS].asked)
    st.session_state[_ASKED] = None if words == "all" else words
