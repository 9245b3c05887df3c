"""Previous and next, by click or by the keys K and J: the same on every page."""

from collections.abc import Callable

import streamlit as st


def walk_buttons(before: int | None, after: int | None, go_to: Callable[[int], None], back: str = "Previous") -> None:
    """Two buttons that lead to the neighbours of what is shown.

    Args:
        before: what comes before it; None where nothing does.
        after: what comes after it; None likewise.
        go_to: called with the one to show, before the page is drawn again.
        back: name of the first button.
    """
    for title, icon, key, place in (
        (back, ":material/chevron_left:", "K", before),
        ("Next", ":material/chevron_right:", "J", after),
    ):
        st.button(title, icon=icon, shortcut=key, disabled=place is None, on_click=go_to, args=(place,))
