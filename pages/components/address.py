"""State that is part of the address: `?run=&test=&target=&method=&train=`.

Widgets bound to the address keep themselves in step with it. What is left to do here: change them from elsewhere, and
say so when an address names something that is not there.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn
from urllib.parse import parse_qs

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.components.text import plain
from trak_core.store.run import Run

ANSWER = "its answer"
MANY_CLASSES = 12
_NOTICES = "notices"
_SHOWN = "notices shown"
_PAGE = "page that was entered"
_NUMBERS = ("test", "train")
_NAMES = ("method", "target", "beside")
_ABSENT = object()


@contextmanager
def on_every_page() -> Iterator[None]:
    """Widgets drawn inside are the same ones on every page that draws them.

    Streamlit takes a widget for that of one page, and on the way to another page drops the parameter that it was bound
    to: a link that names `train` would lose it between two pages that both have such a widget. Widgets that `app.py`
    draws are spared, and these are counted among them.
    """
    context = get_script_run_ctx()
    if context is None:  # drawn without a server
        yield
        return
    with context.run_with_active_hash(context.pages_manager.main_script_hash):
        yield


def bring_along(page: str) -> None:
    """Gives the widgets of a page that is just entered what its address names; `app.py` calls it before every page.

    On the way from page to page Streamlit drops parameters of widgets that people did not touch, also those that the
    address of the new page names. The address as the browser sent it still has them.

    Args:
        page: address of the page.
    """
    context = get_script_run_ctx()
    if context is None or st.session_state.get(_PAGE) == page:
        return
    st.session_state[_PAGE] = page
    asked = {name: values[-1] for name, values in parse_qs(context.query_string).items()}
    for name in asked.keys() - set(st.query_params):
        if name in _NUMBERS and _is_number(asked[name]):
            st.session_state[name] = int(asked[name])
        elif name in _NAMES:
            st.session_state[name] = asked[name]
        else:
            continue
        with contextlib.suppress(StreamlitAPIException):  # a widget that is there already writes the address itself
            st.query_params[name] = asked[name]


def go_to_test(test_idx: int) -> None:
    """Shows another test example; for callbacks, which run before the page is drawn."""
    st.session_state["test"] = test_idx
    st.session_state["train"] = None


def go_to_train(train_idx: int) -> None:
    """Shows another train example; for callbacks."""
    st.session_state["train"] = train_idx


@on_every_page()
def choose_test(run: Run, default: int) -> int:
    """The number input for the test example; numbers out of range give a notice and the default."""
    last = run.info.n_test - 1
    _check_number("test", last, "test example", f"This is number {default}.")
    if st.session_state.get("test") is None:
        # Not the input's own default: Streamlit leaves a default out of the address, and this one differs by run.
        st.session_state["test"] = default
    number = st.number_input(
        "Test example",
        min_value=0,
        max_value=last,
        value=None,
        step=1,
        key="test",
        bind="query-params",
        on_change=_forget_train,
        help="The number of the test example; it is part of the address.",
    )
    return default if number is None else int(number)


def _forget_train() -> None:
    st.session_state["train"] = None


def choose_target(run: Run, test_idx: int, has_answer: bool) -> int | None:
    """The target that is explained: what is asked about the test example; None for the model's own answer.

    Args:
        run: that is looked at.
        test_idx: of the test example.
        has_answer: True where the model's own answer is one of the targets.
    """
    numbers = {name: number for number, name in run.targets(test_idx).items()}
    names = sorted(numbers, key=[*run.info.class_names, *numbers].index) if has_answer else [*numbers]
    options = [ANSWER, *names] if has_answer else names
    _check_option("target", options, "target")
    if len(numbers) == 1:
        return None
    if st.session_state.get("target") not in options:
        st.session_state.pop("target", None)
    help_text = (
        "“its answer” explains what the model said. Pick a class to ask why the model would, or would not, say that."
        if has_answer
        else "What of the model's output is explained."
    )
    # The labels of a segmented control are Markdown, and names come from data: odd ones go into a plain list.
    if len(names) <= MANY_CLASSES and all(plain(name) == name for name in names):
        chosen = st.segmented_control(
            "Explain",
            options,
            default=options[0],
            required=True,
            key="target",
            bind="query-params",
            help=help_text,
        )
    else:
        chosen = st.selectbox("Explain", options, key="target", bind="query-params", help=help_text)
    return None if chosen is None or (has_answer and chosen == ANSWER) else numbers[chosen]


@on_every_page()
def choose_method(run: Run, titles: dict[str, str]) -> str:
    """The attribution method."""
    options = [titles[method] for method in run.info.methods]
    _check_option("method", options, "method")
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


def choose_other_method(run: Run, titles: dict[str, str], method: str) -> str | None:
    """A second method to put beside the first; None for none."""
    others = {titles[name]: name for name in run.info.methods if name != method}
    if not others:
        return None
    _check_option("beside", [*others], "other method", "none is beside it")
    if st.session_state.get("beside") not in others:
        st.session_state.pop("beside", None)
    chosen = st.selectbox(
        "Beside it",
        [*others],
        index=None,
        key="beside",
        bind="query-params",
        placeholder="no other method",
        help="A second method for the same question: what both name is marked.",
    )
    return others.get(chosen or "")


def _check_option(key: str, options: Sequence[str], what: str, instead: str | None = None) -> None:
    asked = st.query_params.get(key)
    if asked is not None and asked not in options:
        instead = instead or f"this is “{plain(options[0])}”"
        put_right(key, f"There is no {what} “{plain(asked)}” in this run; {instead}.")


def choose_train_item(run: Run, default: int) -> int:
    """The number input for the train example that a page is about; numbers out of range give a notice."""
    if st.session_state.get("train") is None:
        if "train" in st.query_params:  # emptied on another page, before this one was asked for
            st.session_state.pop("train", None)
        else:
            st.session_state["train"] = default
    chosen = choose_train(run, f"This is number {default}.")
    return default if chosen is None else chosen


@on_every_page()
def choose_train(
    run: Run, instead: str = "None is picked.", placeholder: str = "click one above, or type a number"
) -> int | None:
    """The number input for the train example to look at closely; None when none is picked.

    Args:
        run: the run.
        instead: what the notice says of what is shown where the address names none that is there.
        placeholder: what the empty field says.
    """
    last = run.info.n_train - 1
    _check_number("train", last, "training example", instead)
    number = st.number_input(
        "Training example",
        min_value=0,
        max_value=last,
        value=None,
        step=1,
        key="train",
        bind="query-params",
        placeholder=placeholder,
    )
    return None if number is None else int(number)


def _check_number(key: str, last: int, what: str, instead: str) -> None:
    """Begins the page anew without a number that is not there, and with a notice."""
    asked = st.query_params.get(key)
    if asked is not None and not (_is_number(asked) and int(asked) <= last):
        # Streamlit's own reading takes 5.0 for 5 and fails on thousands of digits, so the input must not see it.
        notice = f"There is no {what} “{plain(asked)}” in this run; it has numbers 0 to {last}. {instead}"
        put_right(key, notice, empty=None)
    held = st.session_state.get(key)
    if held is not None and not 0 <= held <= last:  # left by a run with more examples
        st.session_state[key] = None


def leave_out(key: str, notice: str) -> NoReturn:
    """Begins the page anew without a parameter of the address, and with a notice in its place."""
    del st.query_params[key]
    st.session_state[_NOTICES] = [*st.session_state.get(_SHOWN, []), notice]
    st.rerun()


def _is_number(asked: str) -> bool:
    return asked.isascii() and asked.isdecimal() and len(asked) < 10


def put_right(key: str, notice: str, empty: object = _ABSENT) -> None:
    """Sets a widget that is bound to the address back to its default, and says so.

    A widget that was drawn before holds its parameter, which then cannot be taken out of the address; it happens when
    another run is picked that lacks what was looked at.

    Args:
        key: of the widget and the parameter.
        notice: what to say, as Markdown.
        empty: the widget's value for nothing, where leaving its state away would not do.
    """
    with contextlib.suppress(StreamlitAPIException):
        leave_out(key, notice)
    st.warning(notice, icon=":material/link_off:")
    if empty is _ABSENT:
        st.session_state.pop(key, None)
    else:
        st.session_state[key] = empty


def show_notices() -> None:
    """Shows, once, what was left out of the address."""
    # Kept for this run: should the page find a second thing to leave out, the first is told again.
    st.session_state[_SHOWN] = st.session_state.pop(_NOTICES, [])
    for notice in st.session_state[_SHOWN]:
        st.warning(notice, icon=":material/link_off:")
