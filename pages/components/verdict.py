"""The answer of the Evidence page: what LDS, LDS at fixed class counts and the controls say together."""

import streamlit as st

from pages.components.cards import FIXED_HELP
from pages.components.text import plain
from pages.components.view import Words, note
from trak_core.views.evidence import Board
from trak_core.views.verdict import Verdict

LDS_HELP = (
    "Linear datamodeling score: the Spearman correlation, over random halves of the training data, between the sum "
    "of the scores of a half and what a model retrained on it says. 1: the order is predicted perfectly. 0: chance."
)
CONTROLS_HELP = (
    "Negative controls are simple rules that see nothing of attribution: the same class, the norm of the gradient, the "
    "length of a text or the ink of an image, the similarity of the inputs. A method beats them when the whole 95% "
    "interval of its difference from each of them, on the same halves and test examples, lies above 0."
)


def headline(found: Board, said: Verdict) -> None:
    """The answer of the page in one sentence, with its numbers below it."""
    st.subheader("Can these scores be believed?", anchor=False)
    st.markdown(f"{found.retrained} **{plain(said.claim)}**", help=f"{LDS_HELP} {FIXED_HELP}")
    note("headline", Words(f"{found.retrained} {said.claim}"))
    controls_badge(said)
    for number, sentence in enumerate([*said.figures, said.controls, *said.further]):
        if sentence:
            st.text(sentence)
            note(f"headline {number}", Words(sentence))


def controls_badge(said: Verdict) -> None:
    """Whether the controls are beaten; nothing where that was not measured."""
    if said.beats_controls and said.cap_is_low:  # which is no praise where these reach most of the LDS
        st.badge("beats the controls", color="gray", icon=":material/balance:", help=CONTROLS_HELP)
    elif said.beats_controls:
        st.badge("beats the controls", color="green", icon=":material/verified:", help=CONTROLS_HELP)
    elif said.suffices:
        st.badge("does not beat the controls", color="red", icon=":material/warning:", help=CONTROLS_HELP)
    elif said.beats_controls is not None:
        st.badge("not shown to beat the controls", color="orange", icon=":material/warning:", help=CONTROLS_HELP)
