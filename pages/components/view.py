"""What the page shows, written down while it is drawn, so that the view can be taken away as one file."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from trak_core.media import Medium

_NOTED = "shown on this page"


@dataclass(frozen=True)
class Words:
    """A paragraph, or a heading."""

    text: str  # as data has it, not escaped
    is_heading: bool = False  # True for a heading


@dataclass(frozen=True)
class Figure:
    """A figure."""

    title: str  # what it shows
    figure: Any  # a plotly figure


@dataclass(frozen=True)
class Card:
    """An example among others."""

    media: tuple[Medium, ...]  # what it shows
    captions: tuple[str, ...]  # lines below it


@dataclass(frozen=True)
class Cards:
    """A gallery."""

    title: str  # what it shows
    items: tuple[Card, ...]  # in order


@dataclass(frozen=True)
class Table:
    """A table."""

    title: str  # what it shows
    frame: Any  # a pandas data frame


Block = Words | Figure | Cards | Table


def begin_view() -> None:
    """Forgets what the last page showed; once for every run of the page."""
    st.session_state[_NOTED] = {}


def note(key: str, block: Block) -> None:
    """Writes down what is shown, in the order of the first time; the same key again replaces what was there.

    Charts and galleries do this themselves. Call it for words and single pictures that should travel with the view.
    """
    st.session_state.setdefault(_NOTED, {})[key] = block


def noted() -> list[Block]:
    """All that was written down since the page began."""
    return list(st.session_state.get(_NOTED, {}).values())
