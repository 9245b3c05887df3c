"""Filters over test examples, and who is next to whom among those that pass."""

from collections.abc import Callable, Sequence

import streamlit as st

from pages.components.address import put_right
from pages.components.text import plain
from trak_core.store.run import Run
from trak_core.views.browse import TestFilter, TestOverview, find_tests
from trak_core.views.examples import shows_texts


def filter_bar(run: Run, tests: TestOverview) -> list[int]:
    """The filters, and the numbers of the test examples that pass them; all when none does."""
    if not run.info.has_classes:
        return list(range(run.info.n_test))
    names = list(run.info.class_names)
    _check("label", "Label", lambda asked: asked in names)
    _check("confidence", "Confidence", lambda asked: asked.isascii() and asked.isdecimal() and len(asked) < 4)
    _check("mistakes", "Only mistakes", lambda asked: asked.lower() in ("true", "false"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(width=320):
            classes = st.multiselect("Label", names, key="label", bind="query-params", placeholder="every class")
        low, high = 0, 100
        if tests.is_known:
            with st.container(width=260):
                low, high = st.slider(
                    "Confidence of the answer, %", 0, 100, (0, 100), key="confidence", bind="query-params"
                )
        text = ""
        if shows_texts(run):
            with st.container(width=220):
                text = st.text_input("Text contains", key="contains", bind="query-params")
        mistakes = tests.is_known and st.toggle("Only mistakes", key="mistakes", bind="query-params")
        wanted = TestFilter(tuple(names.index(name) for name in classes), mistakes, (low / 100, high / 100), text)
        shown = find_tests(run, tests, wanted)
        st.text(f"{len(shown):,} shown of {run.info.n_test:,}")
    if not shown:
        st.info("No test example passes these filters; all are shown.", icon=":material/filter_alt_off:")
        return list(range(run.info.n_test))
    return shown


def _check(key: str, title: str, fits: Callable[[str], bool]) -> None:
    for asked in st.query_params.get_all(key):
        if not fits(asked):
            put_right(key, f"The address asks for “{plain(asked)}” under {title}, which is not there; it was left out.")


def neighbours_shown(shown: Sequence[int], test_idx: int) -> tuple[int | None, int | None]:
    """The test examples before and after one among those shown; None at an end."""
    before = [idx for idx in shown if idx < test_idx]
    after = [idx for idx in shown if idx > test_idx]
    return (before[-1] if before else None), (after[0] if after else None)
