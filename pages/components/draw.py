"""A sheet to draw on, with the mouse, a pen or a finger; it gives what is drawn as a PNG.

What comes back is what a browser sent, and is to be read like any upload.
"""

import base64

import streamlit as st

from pages.components.assets import asset
from trak_core.errors import InvalidDataError

PREFIX = "data:image/png;base64,"
LONGEST = 500_000
"""Letters of an address; a drawing has some thousands."""

_COMPONENT = st.components.v2.component(
    "drawing_sheet", html=asset("draw.html"), css=asset("button.css", "draw.css"), js=asset("draw.js")
)
STROKE_WIDTH = 26
"""Of 280: about the width of strokes in the digits data."""


def drawing_sheet(label: str, *, key: str) -> str:
    """The drawing as the address of a PNG, as the browser sent it; empty when nothing is drawn.

    It is kept in the session, so that it is there again after another page. The label says what to draw.
    """
    kept = f"{key} kept"
    mounted = st.session_state.get(key)
    drawn = mounted.get("png") if mounted else None
    if drawn is not None:
        st.session_state[kept] = drawn
    result = _COMPONENT(
        key=key,
        data={"label": label, "width": STROKE_WIDTH, "png": st.session_state.get(kept, "")},
        on_png_change=lambda: None,
    )
    png = result.png
    return str(st.session_state.get(kept, "") if png is None else png)


def png_of(address: str) -> bytes:
    """The bytes behind the address of a drawing.

    Raises:
        InvalidDataError: it is no such address, or too long.
    """
    content = address.removeprefix(PREFIX)
    try:
        if content == address or len(address) > LONGEST:
            raise ValueError
        return base64.b64decode(content, validate=True)
    except ValueError as error:
        raise InvalidDataError("the drawing did not arrive whole; clear the sheet and draw again.") from error
