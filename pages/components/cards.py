"""The cards of an explanation: the test example, the two sides, and one training example up close."""

from typing import Literal

import streamlit as st

from pages.components.gallery import GalleryItem, gallery
from pages.components.trust import trust_badge
from trak_core.store.run import Run
from trak_core.views import Explanation, train_role

__all__ = ["side_card", "test_card", "train_card"]

_SIDES = {
    "proponent": (
        ":blue[▲ **Proponents**]: spoke for it",
        "Training examples with the highest scores: having them in the training set raises the model output that is "
        "explained. A dotted line marks another class.",
    ),
    "opponent": (
        ":orange[▼ **Opponents**]: spoke against it",
        "Training examples with the lowest scores: having them in the training set lowers the model output that is "
        "explained. A dotted line marks another class.",
    ),
}


def test_card(explanation: Explanation, will_be_measured: bool) -> None:
    """The test example, its label, the model's answer and the trust badge."""
    example = explanation.example
    with st.container(border=True, height="stretch"):
        if example.thumbnail:
            st.image(example.thumbnail, width=150, alt=f"test example {example.idx}")
        if example.text:
            st.text(example.text)
        st.text(f"Label: {example.label_name}")
        sure = "" if explanation.confidence is None else f" ({explanation.confidence:.0%})"
        st.text(f"Model: {explanation.predicted_name}{sure}")
        trust_badge(explanation.trust, will_be_measured)


def side_card(explanation: Explanation, side: Literal["proponent", "opponent"], selected: int | None) -> None:
    """The gallery of one side of an explanation."""
    title, help_text = _SIDES[side]
    shown = explanation.proponents if side == "proponent" else explanation.opponents
    items = [
        GalleryItem(
            item.example,
            f"{side} {item.rank}: train example {item.example.idx}, label {item.example.label_name}, "
            f"score {item.score:+.3g}" + ("" if item.is_asked_class else ", other class"),
            caption=f"label {item.example.label_name}",
            score=f"{item.score:+.3g}",
            side=side,
            other=not item.is_asked_class,
        )
        for item in shown
    ]
    with st.container(border=True, height="stretch"):
        st.markdown(title, help=help_text)
        gallery(side, items, key=f"{side}s", on_pick=_pick_train, selected=selected)


def _pick_train(train_idx: int) -> None:
    st.session_state["train"] = train_idx


def train_card(run: Run, explanation: Explanation, train_idx: int | None) -> None:
    """One training example, and the part that it plays here and in the run."""
    if train_idx is None:
        st.caption("Click a training example to see the part that it plays.")
        return
    role = train_role(run, train_idx, explanation.example.idx, explanation.asked_class, explanation.method)
    picture, words = st.columns([1, 3])
    if role.example.thumbnail:
        picture.image(role.example.thumbnail, width=96, alt=f"train example {train_idx}")
    with words, st.container(gap="xsmall"):
        st.text(f"Train example {train_idx}, label {role.example.label_name}")
        spread = "" if role.standard_error is None else f" ± {role.standard_error:.2g} over checkpoints"
        st.text(f"Score here {role.score:+.3g}{spread}, rank {role.rank:,} of {role.n_train:,}")
        st.text(f"Among the 20 strongest proponents of {role.n_helped} test examples")
        st.text(f"Among the 20 strongest opponents of {role.n_hurt} test examples")
    if role.example.text:
        st.text(role.example.text)
