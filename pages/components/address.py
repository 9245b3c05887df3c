"""State that is part of the address: `?run=&test=&target=&method=&train=`.

Widgets bound to the address keep themselves in step with it. What is left to do here: change them from elsewhere, and
say so when an address names something that is not there.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qs

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.components.text import plain
from trak_core.store.run import Run

ANSWER = "its answer"
MANY_OPTIONS = 13
TARGET_HELP = (
    "“its answer” explains what the model said. Pick a class to ask why the model would, or would not, say that."
)
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
    """
    context = get_script_run_ctx()
    if context is None or st.session_state.get(_PAGE) == page:
        return
    st.session_state[_PAGE] = page
    asked = {name: values[-1] for name, values in parse_qs(context.query_string).items()}
    for name in asked.keys() - set(st.query_params):
        if name in _NUMBERS and is_number(asked[name]):
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


def go_to_train(train_idx: int | None) -> None:
    """Shows another train example, or none; for callbacks."""
    st.session_state["train"] = train_idx


def walk_buttons(
    before: int | None, after: int | None, go_to: Callable[[int], None], names: tuple[str, str] = ("Previous", "Next")
) -> None:
    """Two buttons, with the keys K and J, that call `go_to` with the neighbours of what is shown; None at an end."""
    for name, side, key, place in zip(names, ("left", "right"), "KJ", (before, after), strict=True):
        icon = f":material/chevron_{side}:"
        st.button(name, icon=icon, shortcut=key, disabled=place is None, on_click=go_to, args=(place,))


def choose_option(
    title: str, options: Sequence[str], key: str, notice: str, optional: bool = False, **looks: Any
) -> str | None:
    """A list of options that is bound to the address; an option of the address that is not there gives a notice.

    Args:
        title: of the list.
        options: in order; the first is chosen at the start, unless the choice is optional.
        key: of the widget and of the parameter.
        notice: what to say, as Markdown, with `{asked}` for what the address asks for.
        optional: True where nothing can be chosen, which gives None.
        looks: further arguments of `st.selectbox`.
    """
    check_option(options, key, notice)
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    index = None if optional else 0
    return st.selectbox(title, options, index=index, key=key, bind="query-params", **looks)


def check_option(options: Sequence[str], key: str, notice: str) -> None:
    """Begins the page anew, with a notice, where the address asks for an option that is not there."""
    asked = st.query_params.get(key)
    if asked is not None and asked not in options:
        put_right(key, notice.replace("{asked}", plain(asked)))


def choose_target(run: Run, test_idx: int, has_answer: bool) -> int | None:
    """The target that is explained; None for the model's own answer, which can be asked about where it `has_answer`."""
    numbers = {name: number for number, name in run.targets(test_idx).items()}
    names = sorted(numbers, key=[*run.info.class_names, *numbers].index) if has_answer else [*numbers]
    options = [ANSWER, *names] if has_answer else names
    check_option(options, "target", f"There is no target “{{asked}}” in this run; this is “{plain(options[0])}”.")
    if len(numbers) == 1:
        return None
    help_text = TARGET_HELP if has_answer else "What of the model's output is explained."
    chosen = choose_name(options, "target", help_text, bind="query-params")
    return None if has_answer and chosen == ANSWER else numbers[chosen]


def choose_name(options: list[str], key: str, help_text: str, bind: Literal["query-params"] | None = None) -> str:
    """What to explain, by its name: a row of buttons, or a list where there are many."""
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    # The labels of a segmented control are Markdown, and names come from data: odd ones go into a plain list.
    if len(options) <= MANY_OPTIONS and all(plain(name) == name for name in options):
        chosen = st.segmented_control(
            "Explain", options, default=options[0], required=True, key=key, bind=bind, help=help_text
        )
    else:
        chosen = st.selectbox("Explain", options, key=key, bind=bind, help=help_text)
    return chosen or options[0]


@on_every_page()
def choose_method(run: Run, width: int) -> str:
    """The attribution method."""
    titles = [run.method_titles[method] for method in run.info.methods]
    notice = f"There is no method “{{asked}}” in this run; this is “{plain(titles[0])}”."
    help_text = "TRAK uses gradients of the model. The others are baselines to compare with."
    chosen = choose_option("Method", titles, "method", notice, help=help_text, width=width)
    return run.info.methods[titles.index(str(chosen))]


def choose_other_method(run: Run, method: str) -> str | None:
    """A second method to put beside the first; None for none."""
    others = {run.method_titles[name]: name for name in run.info.methods if name != method}
    if not others:
        return None
    chosen = choose_option(
        "Compare with",
        [*others],
        "beside",
        "There is no other method “{asked}” in this run; none is beside it.",
        optional=True,
        placeholder="none",
        width=210,
        help="A second method for the same question: what both name is marked.",
    )
    return others.get(chosen or "")


@on_every_page()
def choose_test(run: Run, default: int) -> int:
    """The number input for the test example; numbers out of range give a notice and the default."""
    last = run.info.n_test - 1
    _check_number("test", last, "test example", f"This is number {default}.")
    if st.session_state.get("test") is None:
        # Not the input's own default: Streamlit leaves a default out of the address, and this one differs by run.
        st.session_state["test"] = default
    help_text = "The number of the test example; it is part of the address."
    number = _number_input("Test example", "test", last, on_change=go_to_train, args=(None,), width=170, help=help_text)
    return default if number is None else number


def choose_train_item(run: Run, default: int, width: int) -> int:
    """The number input for the train example that a page is about; numbers out of range give a notice."""
    if st.session_state.get("train") is None:
        if "train" in st.query_params:  # emptied on another page, before this one was asked for
            st.session_state.pop("train", None)
        else:
            st.session_state["train"] = default
    chosen = choose_train(run, f"This is number {default}.", width=width)
    return default if chosen is None else chosen


@on_every_page()
def choose_train(
    run: Run,
    instead: str = "None is picked.",
    placeholder: str = "click one above, or type a number",
    width: int | Literal["stretch"] = "stretch",
) -> int | None:
    """The number input for the train example to look at closely; None when none is picked.

    Where the address names none that is there, the notice ends in `instead`.
    """
    last = run.info.n_train - 1
    _check_number("train", last, "training example", instead)
    return _number_input("Training example", "train", last, placeholder=placeholder, width=width)


def _number_input(title: str, key: str, last: int, **looks: Any) -> int | None:
    number = st.number_input(
        title, min_value=0, max_value=last, value=None, step=1, key=key, bind="query-params", **looks
    )
    return None if number is None else int(number)


def _check_number(key: str, last: int, what: str, instead: str) -> None:
    """Begins the page anew without a number that is not there, and with a notice."""
    asked = st.query_params.get(key)
    if asked is not None and not (is_number(asked) and int(asked) <= last):
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


def is_number(asked: str) -> bool:
    """True for a whole number from 0 on, of a length that can be meant."""
    return asked.isascii() and asked.isdecimal() and len(asked) < 10


def put_right(key: str, notice: str, empty: object = _ABSENT) -> None:
    """Sets a widget that is bound to the address back to its default, and says so.

    A widget that was drawn before holds its parameter, which then cannot be taken out of the address; it happens when
    another run is picked that lacks what was looked at.

    Where leaving the state of the widget away would not do, `empty` is its value for nothing.
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
