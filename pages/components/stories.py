"""A story as a card that leads to the view it is about."""

import streamlit as st

from pages.components.media import show_media, show_short_text
from pages.components.pages import EXPLORE, TRAIN
from pages.components.text import plain
from trak_core.store.run import Run
from trak_core.views.examples import read_examples
from trak_core.views.stories import Story


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
    page, address = (TRAIN, {}) if story.test_idx is None else (EXPLORE, {"test": str(story.test_idx)})
    if story.train_idx is not None:
        address["train"] = str(story.train_idx)
    st.page_link(page, label=label, icon=":material/arrow_forward:", query_params={"run": run.info.name, **address})
