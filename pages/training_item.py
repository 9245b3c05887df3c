"""Training item: one training example, and the test examples that it helps and hurts."""

import streamlit as st

from pages.components.address import choose_method, choose_train_item, go_to_train
from pages.components.cards import train_item_card
from pages.components.export import take_away
from pages.components.gallery import GalleryItem, gallery
from pages.components.pages import EXPLORE, REVIEW, page_address
from pages.components.picks import pick_button
from pages.components.routing import through_app
from pages.components.runs import current_run, feature_directions, refresh_when_published
from pages.components.text import apart
from pages.components.view import Words, note
from pages.components.walking import walk_buttons
from trak_core.store.run import Run
from trak_core.views.examples import ScoredExample, read_examples
from trak_core.views.neighbours import nearest_train
from trak_core.views.training_items import TrainingItem, first_item, training_item, training_item_table

through_app()


def headline(item: TrainingItem) -> None:
    st.subheader(f"Training example {item.example.idx}", anchor=False)
    said = (
        f"The model learnt from this “{item.example.label_name}”. It is among the 20 strongest helpers of "
        f"{item.n_helped:,} test examples, and among the 20 strongest opponents of {item.n_hurt:,}."
    )
    if item.looks_wrong:
        said += f" Trained on this very label, the model still answers “{item.guess_name}”: look whether it is right."
    st.text(said)
    note("headline", Words(said))


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
                    f"test example {moved.example.idx}, label {moved.example.label_name}, score {moved.score:+.3g}"
                    + (f", rank {moved.rank} of its list" if moved.rank else ""),
                    caption=f"label {apart(moved.example.label_name)}" + (f", #{moved.rank}" if moved.rank else ""),
                    score=f"{moved.score:+.3g}",
                    side="proponent" if kind == "helps" else "opponent",
                )
                for moved in items
            ],
            key=kind,
            link=lambda test_idx: page_address(EXPLORE, run=run.info.name, test=test_idx, train=train_idx),
        )


def actions(run: Run, item: TrainingItem) -> None:
    train_idx = item.example.idx
    tip = "What if it were gone? The Explore page answers for the test example looked at there."
    pick_button(run, train_idx, tip)
    if run.info.has_classes:
        st.page_link(
            REVIEW,
            label="Judge its label",
            icon=":material/rule:",
            query_params={"run": run.info.name, "train": str(train_idx)},
        )


def neighbours(run: Run, item: TrainingItem) -> None:
    near = nearest_train(feature_directions(run), item.example.idx)
    duplicates = sum(neighbour.is_duplicate for neighbour in near)
    st.markdown(
        "**Teaches alike**: nearest training examples",
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
                f"train example {example.idx}, label {example.label_name}, cosine {neighbour.cosine:.2f}",
                caption=f"label {apart(example.label_name)}",
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


run = current_run()
top = st.container(gap="xsmall")
with st.container(horizontal=True, vertical_alignment="bottom"):
    with st.container(width=190):
        train_idx = choose_train_item(run, default=first_item(run))
    last = run.info.n_train - 1
    walk_buttons(train_idx - 1 if train_idx else None, train_idx + 1 if train_idx < last else None, go_to_train)
    with st.container(width=230):
        method = choose_method(run, run.method_titles)
item = training_item(run, train_idx, method)
with top:
    headline(item)
card, helped, hurt = st.columns([1.1, 2, 2])
reach = "" if item.covers_all else " Only test examples are looked at that have it among their 100 strongest."
with card:
    train_item_card(item)
    actions(run, item)
with helped:
    side(
        run,
        train_idx,
        ":blue[▲ **Helps**]: more sure because of it",
        "Test examples whose label it raises most. #: its rank among their proponents." + reach,
        item.helped,
        "helps",
    )
with hurt:
    side(
        run,
        train_idx,
        ":orange[▼ **Hurts**]: less sure because of it",
        "Test examples whose label it lowers most. #: its rank among their opponents." + reach,
        item.hurt,
        "hurts",
    )
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
