"""Stories: a card that leads to the view, and what is needed to show one to a room: large type, the whole screen."""

import html

import streamlit as st

from pages.components.assets import asset
from pages.components.media import show_media, show_short_text
from pages.components.pages import EXPLORE, TRAIN, link_to
from pages.components.text import plain
from trak_core.store.run import Run
from trak_core.views.examples import read_examples
from trak_core.views.stories import Story

_FULL = st.components.v2.component(
    "full_screen",
    html='<button type="button">Full screen</button>',
    css=asset("button.css"),
    js=asset("full_screen.js"),
)
_LARGE = {
    "title": ("h1", "font-size: clamp(1.8rem, 4vw, 3.2rem); font-weight: 650; line-height: 1.15"),
    "lead": ("p", "font-size: clamp(1.2rem, 2.2vw, 1.7rem); line-height: 1.35"),
    "text": ("p", "font-size: clamp(1.05rem, 1.7vw, 1.35rem); line-height: 1.35"),
}
"""Sizes that can be read from afar: the element, and its style."""


def full_screen_button() -> None:
    """A button that gives the page the whole screen, and takes it back."""
    with st.container(width="content"):
        _FULL(key="full_screen")


def large(text: str, size: str) -> None:
    """Text that can be read from afar, as a "title", a "lead" or a "text"; shown letter by letter as it is."""
    tag, style = _LARGE[size]
    st.html(f'<{tag} style="margin: 0; padding: 0; overflow-wrap: anywhere; {style}">{html.escape(text)}</{tag}>')


def story_card(run: Run, story: Story) -> None:
    """What the story is about, in a picture and a sentence, with a link to it."""
    split, idx = ("train", story.train_idx) if story.test_idx is None else ("test", story.test_idx)
    example = read_examples(run, split, [int(idx or 0)])[0]
    show_media(example.media, 64, f"{split} example {example.idx}", show_short_text)
    st.markdown(f"**{plain(story.title)}**")
    st.text(story.text)
    story_link(run, story)


def story_link(run: Run, story: Story, label: str = "See why") -> None:
    """A link to the exact view that the story is about."""
    page = TRAIN if story.test_idx is None else EXPLORE
    link_to(page, label, "arrow_forward", run=run.info.name, test=story.test_idx, train=story.train_idx)
