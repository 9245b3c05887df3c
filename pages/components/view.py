"""What the page shows, written down while it is drawn, so that the view can be taken away as one file."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from trak_core.media import Medium

__all__ = ["Block", "Card", "Cards", "Figure", "Table", "Words", "begin_view", "note", "noted"]

_NOTED = "shown on this page"


@dataclass(frozen=True)
class Words:
    """A paragraph, or a heading.

    Attributes:
        text: as data has it, not escaped.
        is_heading: True for a heading.
    """

    text: str
    is_heading: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        title: what it shows.
        figure: a plotly figure.
    """

    title: str
    figure: Any


@dataclass(frozen=True)
class Card:
    """An example among others.

    Attributes:
        media: what it shows.
        captions: lines below it.
    """

    media: tuple[Medium, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Cards:
    """A gallery.

    Attributes:
        title: what it shows.
        items: in order.
    """

    title: str
    items: tuple[Card, ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: what it shows.
        frame: a pandas data frame.
    """

    title: str
    frame: Any


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
