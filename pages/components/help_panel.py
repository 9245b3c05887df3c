"""The help panel: which keys there are and what the words mean; opened by its button or by the key `?`."""

import streamlit as st

from pages.components.assets import asset

_BUTTON = st.components.v2.component(
    "help_panel", html='<button type="button">Help (?)</button>', css=asset("button.css"), js=asset("help_panel.js")
)
_KEYS = (
    ("J, K", "next and previous: test example, training item, suspect, story"),
    ("arrow keys, Home, End", "move inside a gallery or on the map"),
    ("Enter", "open what is marked in a gallery"),
    ("P, or Alt and click", "put a training example into “what if?”, or take it out"),
    ("Q, W, E, N, U, 1 to 9", "label review: keep, take the suggestion, exclude, unsure, undo, another class"),
    ("?", "this panel"),
)
_WORDS = (
    ("Proponent", "a training example that raises what is explained: without it, the model would be less sure."),
    ("Opponent", "a training example that lowers it: without it, the model would be more sure."),
    ("Score", "by how much the model output is estimated to rise because the example was there; below 0, to fall."),
    (
        "Margin",
        "the model output for a class: log(p / (1 - p)) of its probability. 0 is even odds, 2 is 88%, 5 is 99%.",
    ),
    (
        "Trust and LDS",
        "models are really retrained on random halves of the training data. LDS tells how well the scores predicted "
        "which halves make the model more sure: 1 is a perfect order, 0 is chance.",
    ),
    (
        "At fixed class counts",
        "halves differ in how many examples of each class they have, and a blind model follows these counts. Here they "
        "are taken out of both sides first; trust goes by the lower of the two.",
    ),
    ("Control", "a simple rule, such as “same class”, that attribution has to beat before it deserves its name."),
    ("Majority", "the answer that is most frequent; a model that is right no more often has learnt nothing."),
    ("Suspect", "a training example whose label looks wrong."),
    ("Noise ceiling", "the highest LDS that any method can reach, because retrained models differ by chance."),
    ("Self-influence", "how much an example raises the model output for itself; high for odd ones and wrong labels."),
    ("Checkpoint", "one of the trained models that scores are averaged over."),
    ("Subset", "the training examples that a retrained model got to see."),
)


def help_panel() -> None:
    """The button that opens the panel."""
    with st.container(width="content"):
        _BUTTON(key="help panel", on_opened_change=_open)
    if st.session_state.pop("help is open", False):
        _panel()


def _open() -> None:
    st.session_state["help is open"] = True


@st.dialog("Help", width="large")
def _panel() -> None:
    for title, rows in (("Keys", _KEYS), ("Words", _WORDS)):
        st.subheader(title, anchor=False)
        for name, meaning in rows:
            st.markdown(f"**{name}**: {meaning}")
