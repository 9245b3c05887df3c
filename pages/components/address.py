"""State that is part of the address: `?run=&test=&asked=&method=&train=`.

Widgets bound to the address keep themselves in step with it. What is left to do here: change them from elsewhere, and
say so when an address names something that is not there.
"""

from collections.abc import Sequence

import streamlit as st

from pages.components.text import plain
from trak_core.store.run import Run

__all__ = ["ANSWER", "choose_asked_class", "choose_method", "choose_test", "choose_train", "go_to_test"]

ANSWER = "its answer"
MANY_CLASSES = 12


def go_to_test(test_idx: int) -> None:
    """Shows another test example; for callbacks, which run before the page is drawn."""
    st.session_state["test"] = test_idx
    st.session_state["train"] = None


def choose_test(run: Run, default: int) -> int:
    """The number input for the test example; numbers out of range give a notice and the default."""
    last = run.info.n_test - 1
    _notice_number("test", last, "test example", f"This is number {default}.")
    if not 0 <= st.session_state.get("test", 0) <= last:
        st.session_state["test"] = default
    return int(
        st.number_input(
            "Test example",
            min_value=0,
            max_value=last,
            value=default,
            step=1,
            key="test",
            bind="query-params",
            on_change=_forget_train,
            help="The number of the test example; it is part of the address.",
        )
    )


def _forget_train() -> None:
    st.session_state["train"] = None


def choose_asked_class(run: Run) -> int | None:
    """The class whose score is explained; None for the model's own answer."""
    names = list(run.info.class_names)
    options = [ANSWER, *names]
    _notice("asked", options, "class")
    if st.session_state.get("asked") not in options:
        st.session_state.pop("asked", None)
    help_text = (
        "“its answer” explains what the model said. Pick a class to ask why the model would, or would not, say that."
    )
    # The labels of a segmented control are Markdown, and names come from data: odd ones go into a plain list.
    if len(names) <= MANY_CLASSES and all(plain(name) == name for name in names):
        chosen = st.segmented_control(
            "Explain",
            options,
            default=ANSWER,
            required=True,
            key="asked",
            bind="query-params",
            help=help_text,
        )
    else:
        chosen = st.selectbox("Explain", options, key="asked", bind="query-params", help=help_text)
    return None if chosen in (None, ANSWER) else names.index(chosen)


def choose_method(run: Run, titles: dict[str, str]) -> str:
    """The attribution method."""
    options = [titles[method] for method in run.info.methods]
    _notice("method", options, "method")
    if st.session_state.get("method") not in options:
        st.session_state.pop("method", None)
    chosen = st.selectbox(
        "Method",
        options,
        key="method",
        bind="query-params",
        help="TRAK uses gradients of the model. The others are baselines to compare with.",
    )
    return run.info.methods[options.index(chosen)]


def _notice(key: str, options: Sequence[str], what: str) -> None:
    asked = st.query_params.get(key)
    if asked is not None and asked not in options:
        st.warning(
            f"There is no {what} “{plain(asked)}” in this run; this is “{plain(options[0])}”.",
            icon=":material/link_off:",
        )


def choose_train(run: Run) -> int | None:
    """The number input for the train example to look at closely; None when none is picked."""
    last = run.info.n_train - 1
    _notice_number("train", last, "training example", "None is picked.")
    chosen = st.session_state.get("train")
    if chosen is not None and not 0 <= chosen <= last:
        st.session_state["train"] = None
    number = st.number_input(
        "Training example",
        min_value=0,
        max_value=last,
        value=None,
        step=1,
        key="train",
        bind="query-params",
        placeholder="click one above, or type a number",
    )
    return None if number is None else int(number)


def _notice_number(key: str, last: int, what: str, instead: str) -> None:
    asked = st.query_params.get(key)
    if asked is not None and not (asked.isdecimal() and int(asked) <= last):
        st.warning(
            f"There is no {what} “{plain(asked)}” in this run; it has numbers 0 to {last}. {instead}",
            icon=":material/link_off:",
        )
