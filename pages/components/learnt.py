"""Whether the models have learnt anything: the statement that stands beside trust on every page."""

import streamlit as st

from pages.components.runs import kept_per_run
from pages.components.text import plain
from pages.components.view import Words, note
from trak_core.evidence.model_quality import ModelQuality
from trak_core.store.run import Run
from trak_core.views.model_quality import (
    NO_BETTER,
    further_sentences,
    has_not_learnt,
    learnt_sentence,
    mark_of,
    quality_figures,
    quality_of,
)

LEARNT_HELP = (
    "Two different things: trust says how faithful an explanation is to the models, this says whether the models have "
    "learnt anything. They have when they are better than one answer for all, tested at 95% over the test examples. A "
    "model that has learnt nothing can be explained faithfully, and the explanation tells nothing about the data."
)


@kept_per_run(max_entries=64)
def quality_of_run(run: Run) -> ModelQuality | None:
    """How good the models of a run are, None where that is not known."""
    return quality_of(run)


def learnt_badge(quality: ModelQuality | None) -> None:
    """The statement in one sentence, with a mark where the models are not shown to have learnt anything."""
    sentence = learnt_sentence(quality)
    show_learnt(sentence, mark_of(quality))
    note("learnt", Words(sentence))


def show_learnt(sentence: str, mark: str) -> None:
    """The statement as it was made, with its mark where there is one."""
    _show_mark(mark)
    st.caption(plain(sentence), help=LEARNT_HELP)


def learnt_warning(run: Run) -> None:
    """The statement where the models have learnt nothing, for pages that show no trust but stand on the models too."""
    quality = quality_of_run(run)
    if has_not_learnt(quality):
        learnt_badge(quality)


def learnt_panel(run: Run) -> None:
    """What the models of a run have learnt, and all else that people should know of them first."""
    quality = quality_of_run(run)
    with st.container(border=True):
        st.markdown("**What the models have learnt**", help=LEARNT_HELP)
        _show_mark(mark_of(quality))
        for number, sentence in enumerate([learnt_sentence(quality), *further_sentences(quality)]):
            st.text(sentence)
            note(f"learnt {number}" if number else "learnt", Words(sentence))
        with st.container(horizontal=True):
            for name, value in quality_figures(quality).items():
                st.metric(plain(f"{quality.measure if quality else ''}: {name}"), f"{value:.2f}", width="content")


def _show_mark(mark: str) -> None:
    if mark:
        colour = "red" if mark == NO_BETTER else "orange"
        st.badge(f"models: {mark}", color=colour, icon=":material/warning:", help=LEARNT_HELP)  # type: ignore[arg-type]
