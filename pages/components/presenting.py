"""What a view needs to be read from the back of a room: large type, and the whole screen."""

import streamlit as st

from pages.components.assets import asset

_FULL = st.components.v2.component(
    "full_screen",
    html='<button type="button">Full screen</button>',
    css=asset("button.css"),
    js=asset("full_screen.js"),
)
_LARGE = st.components.v2.component(
    "large_text", html="<p></p>", css=asset("large_text.css"), js=asset("large_text.js")
)


def full_screen_button() -> None:
    """A button that gives the page the whole screen, and takes it back."""
    with st.container(width="content"):
        _FULL(key="full_screen")


def large(text: str, size: str) -> None:
    """Text that can be read from afar; shown letter by letter as it is, never as Markdown or HTML.

    Args:
        text: to show.
        size: "title", "lead" or "text".
    """
    _LARGE(key=f"large {size} {text[:40]}", data={"text": text, "size": size})
