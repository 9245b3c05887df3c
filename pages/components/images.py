"""Examples by themselves: images sharp at any size, and texts of any length."""

import base64

import streamlit as st

from trak_core.views.thumbnails import enlarged

__all__ = ["data_uri", "show_image", "show_text"]

LONG_TEXT = 600
"""Letters from which on a text gets a frame that scrolls, so that it does not push everything else off the page."""
FRAME_HEIGHT = 340
LONGEST_TEXT = 20_000


def data_uri(image: bytes) -> str:
    """The image as an address that needs no second request."""
    kind = "png" if image.startswith(b"\x89PNG") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def show_image(thumbnail: bytes, width: int, alt: str) -> None:
    """The image of an example, every pixel of a small one visible."""
    st.image(enlarged(thumbnail, width), width=width, alt=alt)


def show_text(text: str) -> None:
    """The text of an example; a long one scrolls, and of a very long one only the beginning is sent."""
    if len(text) <= LONG_TEXT:
        st.text(text)
        return
    with st.container(height=FRAME_HEIGHT):
        st.text(text[:LONGEST_TEXT])
    if len(text) > LONGEST_TEXT:
        st.caption(f"The first {LONGEST_TEXT:,} of {len(text):,} characters.")
