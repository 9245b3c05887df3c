"""The cards of an explanation: the test example, the two sides, and one training example up close."""

from collections.abc import Callable, Collection, Sequence

import streamlit as st

from pages.components.address import go_to_train
from pages.components.gallery import GalleryItem, gallery
from pages.components.media import show_media
from pages.components.text import apart
from pages.components.trust import trust_badge
from pages.components.view import Card, Cards, note
from trak_core.media import Picture
from trak_core.store.ranking import Side
from trak_core.store.run import Run
from trak_core.views.examples import ScoredExample
from trak_core.views.explanation import Explanation, train_role
from trak_core.views.training_items import TrainingItem

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
    sure = "" if explanation.confidence is None else f" ({explanation.confidence:.0%})"
    answer = f"Model: {explanation.predicted_name}{sure}"
    lines = (f"Label: {example.label_name}", answer, f"Trust: {explanation.trust.level}")
    note("test example", Cards("Test example", (Card(example.media, lines),)))
    with st.container(border=True, height="stretch"):
        show_media(example.media, 150, f"test example {example.idx}")
        st.text(f"Label: {example.label_name}")
        st.text(answer)
        trust_badge(explanation.trust, will_be_measured)


def side_items(
    shown: Sequence[ScoredExample],
    side: Side,
    chosen: Collection[int] = (),
    shared: Collection[int] = (),
    contrary: Collection[int] = (),
) -> list[GalleryItem]:
    """Train examples of one side for a gallery; the arguments are those of `side_card`."""
    return [
        GalleryItem(
            item.example,
            f"{side} {item.rank}: train example {item.example.idx}, label {item.example.label_name}, "
            f"score {item.score:+.3g}" + ("" if item.is_target_class else ", other class"),
            caption=f"label {apart(item.example.label_name)}",
            score=f"{item.score:+.3g}",
            side=side,
            other=not item.is_target_class,
            chosen=item.example.idx in chosen,
            badge="both" if item.example.idx in shared else "contrary" if item.example.idx in contrary else "",
        )
        for item in shown
    ]


def side_card(
    explanation: Explanation,
    side: Side,
    selected: int | None,
    *,
    title: str = "",
    name: str = "",
    chosen: Collection[int] = (),
    shared: Collection[int] = (),
    contrary: Collection[int] = (),
    on_choose: Callable[[int], None] | None = None,
) -> None:
    """The gallery of one side of an explanation.

    Args:
        explanation: to show.
        side: of it.
        selected: the train example that is looked at closely.
        title: in place of the usual one, for a second method; as Markdown.
        name: of that method.
        chosen: train examples that were put aside.
        shared: train examples that another method names on this side too.
        contrary: train examples that it names on the other side.
        on_choose: called with an example that is put aside.
    """
    usual, help_text = _SIDES[side]
    shown = explanation.proponents if side == "proponent" else explanation.opponents
    items = side_items(shown, side, chosen, shared, contrary)
    with st.container(border=True, height="stretch"):
        st.markdown(title or usual, help=help_text)
        gallery(
            f"{side} by {name}" if name else side,
            items,
            key=f"{side}s {name}".strip(),
            on_pick=go_to_train,
            selected=selected,
            on_choose=on_choose,
            marked=explanation.words,
        )


def train_card(run: Run, explanation: Explanation, train_idx: int | None) -> None:
    """One training example, and the part that it plays here and in the run."""
    if train_idx is None:
        st.caption("Click a training example to see the part that it plays.")
        return
    role = train_role(run, train_idx, explanation.example.idx, explanation.target, explanation.method)
    looked, words = st.columns([1, 3])
    pictures = [medium for medium in role.example.media if isinstance(medium, Picture)]
    with looked:
        show_media(pictures, 96, f"train example {train_idx}")
    with words, st.container(gap="xsmall"):
        st.text(f"Train example {train_idx}, label {role.example.label_name}")
        spread = "" if role.standard_error is None else f" ± {role.standard_error:.2g} over checkpoints"
        st.text(f"Score here {role.score:+.3g}{spread}, rank {role.rank:,} of {run.info.n_train:,}")
        st.text(f"Among the 20 strongest proponents of {role.n_helped} test examples")
        st.text(f"Among the 20 strongest opponents of {role.n_hurt} test examples")
    show_media([medium for medium in role.example.media if medium not in pictures], 96, "")


def train_item_card(item: TrainingItem) -> None:
    """The training example, what the models say of it, and how much it counts."""
    example = item.example
    lines = [f"Label: {example.label_name}"]
    if item.guess_name is not None:
        lines.append(f"Model: {item.guess_name}")
    note(
        "training example",
        Cards("Training example", (Card(example.media, tuple(lines)),)),
    )
    with st.container(border=True, height="stretch"):
        show_media(example.media, 150, f"train example {example.idx}")
        for line in lines:
            st.text(line)
        if item.p_label is not None:
            st.caption(f"Probability of its label {item.p_label:.0%}, averaged over checkpoints")
        if item.self_influence is not None:
            st.markdown(
                f"Self-influence {item.self_influence:.3g}, rank {item.self_influence_rank:,} of {item.n_train:,}",
                help="How much the example raises the model output for itself: high for what the model can only learn "
                "by heart, such as odd examples and wrong labels.",
            )
        st.markdown(
            f"In {item.n_helped + item.n_hurt:,} top lists, rank {item.hub_rank:,}",
            help="How many test examples have it among their 20 strongest proponents or opponents, and its place among "
            "all training examples by that number.",
        )
