"""What the page shows, written down while it is drawn, so that the view can be taken away as one file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from pages.components.text import for_page, plain
from trak_core.media import Medium

_NOTED = "shown on this page"


@dataclass(frozen=True)
class Words:
    """A paragraph, or a heading."""

    text: str  # as data has it, not escaped
    is_heading: bool = False


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


def say(key: str, sentence: str, show: Callable[[str], object] = st.text) -> None:
    """A sentence, shown as it is, on the page and in the file that is taken away."""
    show(sentence)
    note(key, Words(sentence))


def show_error(error: object) -> None:
    """What went wrong, as a sentence, letter by letter as it is."""
    said = for_page(str(error))
    st.error(plain(said[:1].upper() + said[1:]), icon=":material/error:")


def noted() -> list[Block]:
    """All that was written down since the page began."""
    return list(st.session_state.get(_NOTED, {}).values())
