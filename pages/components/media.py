"""The media of examples: pictures sharp at any size, texts of any length, marked texts, and several of them."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from pages.components.text import plain, shortened
from trak_core.media import Medium, Picture, Text
from trak_core.views.media_html import data_uri, enlarged, mark_colour, marked_stretches, text_in_html

LONG_TEXT = 600
"""Letters from which on a text gets a frame that scrolls, so that it does not push everything else off the page."""
FRAME_HEIGHT = 340
LONGEST_TEXT = 20_000
LONG_MARKED = 1_200
"""Letters of a marked text that a gallery shows, from shortly before the strongest mark where it is longer."""


def show_text(text: Text) -> None:
    """A text with its marks; a long one scrolls, and of a very long one only the beginning is sent."""
    if len(text.text) <= LONG_TEXT:
        _words(text)
        return
    with st.container(height=FRAME_HEIGHT):
        _words(text)
    if len(text.text) > LONGEST_TEXT:
        st.caption(f"The first {LONGEST_TEXT:,} of {len(text.text):,} characters.")


def show_short_text(text: Text) -> None:
    """The beginning of a text, on one line."""
    st.text(shortened(text.text))


def show_media(media: Sequence[Medium], width: int, alt: str, words: Callable[[Text], None] = show_text) -> None:
    """All that an example shows, one below the other, each with its name where it has one.

    Args:
        media: of the example.
        width: of pictures, in pixels; every pixel of a small one is visible.
        alt: what a screen reader says of a picture without a name.
        words: shows a text.
    """
    for medium in media:
        if medium.name:
            st.caption(plain(medium.name))
        if isinstance(medium, Picture):
            st.image(enlarged(medium.content, width), width=width, alt=medium.name or alt)
        else:
            words(medium)


def for_script(
    media: Sequence[Medium], letters: int, parts: Callable[[str], list[str]] | None = None
) -> list[dict[str, Any]]:
    """The media for the script of a component, each with an "image" (an address) or None, and a "text".

    A text is cut short, unless it has marks; where `parts` parts it, it comes in "parts" too, every second of which is
    to be marked. Marks of its own come in "coloured": stretches of text, each with a colour or None.
    """

    def told(medium: Medium) -> dict[str, Any]:
        if isinstance(medium, Picture):
            return {"image": data_uri(medium), "text": medium.name}
        if medium.marks:
            coloured = [
                (words, weight and mark_colour(weight)) for words, weight in marked_stretches(medium, LONG_MARKED)
            ]
            return {"image": None, "text": medium.name, "coloured": coloured}
        text = f"{medium.name + ': ' * bool(medium.name)}{medium.text}"[:letters]
        return {"image": None, "text": text, "parts": [text] if parts is None else parts(text)}

    return [told(medium) for medium in media]


def _words(text: Text) -> None:
    if text.marks:
        st.html(f'<p style="white-space:pre-wrap;overflow-wrap:anywhere">{text_in_html(text, LONGEST_TEXT)}</p>')
    else:
        st.text(text.text[:LONGEST_TEXT])
