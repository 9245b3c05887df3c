"""Training item: one training example, and the test examples that it helps and hurts."""

import streamlit as st

from pages.components.address import choose_method, choose_train_item, go_to_train, walk_buttons
from pages.components.cards import train_item_card
from pages.components.export import take_away
from pages.components.gallery import GalleryItem, caption_of, gallery, named
from pages.components.learnt import learnt_badge, quality_of_run
from pages.components.pages import EXPLORE, REVIEW, link_to, page_address
from pages.components.picks import pick_button
from pages.components.routing import through_app
from pages.components.runs import feature_directions, refresh_when_published, run_with_scores
from pages.components.view import say
from trak_core.store.run import Run
from trak_core.views.examples import ScoredExample, read_examples
from trak_core.views.neighbours import nearest_train
from trak_core.views.training_items import TrainingItem, first_item, training_item, training_item_table

through_app()


def headline(item: TrainingItem) -> None:
    st.subheader(f"Training example {item.example.idx}", anchor=False)
    what = f"this “{item.example.label_name}”" if item.example.is_labelled else "it"
    said = (
        f"The model learnt from {what}. It is among the 20 strongest proponents of "
        f"{item.n_helped:,} test examples, and among the 20 strongest opponents of {item.n_hurt:,}."
    )
    if item.looks_wrong:
        said += f" Even after training on this label, the model answers “{item.guess_name}”: check whether it is right."
    say("headline", said)


def side(run: Run, train_idx: int, title: str, help_text: str, items: list[ScoredExample], kind: str) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown(title, help=help_text)
        if not items:
            st.caption("None: it moves no test example this way.")
            return
        gallery(
            f"test examples that it {kind}",
            [
                GalleryItem(
                    moved.example,
                    f"{named(moved.example)}, score {moved.score:+.3g}"
                    + (f", rank {moved.rank} of its list" if moved.rank else ""),
                    caption=caption_of(moved.example) + (f", #{moved.rank}" if moved.rank else ""),
                    score=f"{moved.score:+.3g}",
                    side="proponent" if kind == "helps" else "opponent",
                    href=page_address(EXPLORE, run=run.info.name, test=moved.example.idx, train=train_idx),
                )
                for moved in items
            ],
            key=kind,
        )


def actions(run: Run, item: TrainingItem) -> None:
    train_idx = item.example.idx
    pick_button(run, train_idx, "What if it were gone? The Explore page answers for the test example looked at there.")
    if run.info.has_classes:
        link_to(REVIEW, "Judge its label", "rule", run=run.info.name, train=train_idx)


def neighbours(run: Run, item: TrainingItem) -> None:
    near = nearest_train(feature_directions(run), item.example.idx)
    duplicates = sum(neighbour.is_duplicate for neighbour in near)
    st.markdown(
        "**Similar training examples**: nearest to the model",
        help="Nearest by the angle between stored features, the projected gradients of the first checkpoint: what the "
        "model learns from them is alike. At .99 and above they are near-duplicates.",
    )
    if duplicates:
        st.caption(f"{duplicates} near-duplicate{'s' if duplicates > 1 else ''}: to the model, the same example again.")
    gallery(
        "nearest training examples",
        [
            GalleryItem(
                example,
                f"{named(example)}, cosine {neighbour.cosine:.2f}",
                caption=caption_of(example),
                score=f"{neighbour.cosine:.2f}" + (" =" if neighbour.is_duplicate else ""),
                other=example.label != item.example.label,
            )
            for neighbour, example in zip(
                near, read_examples(run, "train", [neighbour.train_idx for neighbour in near]), strict=True
            )
        ],
        key="neighbours",
        on_pick=go_to_train,
    )


run = run_with_scores()
top = st.container(gap="xsmall")
with st.container(horizontal=True, vertical_alignment="bottom"):
    train_idx = choose_train_item(run, default=first_item(run), width=190)
    last = run.info.n_train - 1
    walk_buttons(train_idx - 1 if train_idx else None, train_idx + 1 if train_idx < last else None, go_to_train)
    method = choose_method(run, width=230)
item = training_item(run, train_idx, method)
with top:
    headline(item)
card, *sides = st.columns([1.1, 2, 2])
reach = "" if item.covers_all else " Only test examples are looked at that have it among their 100 strongest."
with card:
    train_item_card(item)
    learnt_badge(quality_of_run(run))
    actions(run, item)
for column, kind, title, moves, items in (
    (sides[0], "helps", ":blue[▲ **Helps**]: more sure because of it", "raises", item.helped),
    (sides[1], "hurts", ":orange[▼ **Hurts**]: less sure because of it", "lowers", item.hurt),
):
    of = "proponents" if kind == "helps" else "opponents"
    with column:
        what = "label" if item.example.is_labelled else "model output"
        help_text = f"Test examples whose {what} it {moves} most. #: its rank among their {of}.{reach}"
        side(run, train_idx, title, help_text, items, kind)
if run.info.proj_dim:  # without features nobody knows who teaches alike
    with st.container(border=True):
        neighbours(run, item)
take_away(
    f"training_example_{train_idx}",
    f"{run.info.name}: training example {train_idx}",
    lambda: training_item_table(item),
    run=run.info.name,
    train=train_idx,
    method=run.method_titles[method],
)
refresh_when_published(run)
