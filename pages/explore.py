"""Explore: one test example, the training examples behind it, and how far that can be trusted."""

import streamlit as st

from pages.components.address import choose_asked_class, choose_method, choose_test, choose_train, go_to_test
from pages.components.charts import score_histogram, show
from pages.components.export import explanation_download, share_link
from pages.components.filters import filter_bar, walk_buttons
from pages.components.gallery import GalleryItem, gallery
from pages.components.routing import through_app
from pages.components.runs import current_run, refresh_when_published, test_overview
from pages.components.trust import trust_badge
from trak_core.store.run import Run
from trak_core.views import Attributed, Explanation, TestOverview, explain, find_stories, read_examples, train_role

through_app()

STRIP = 60


def headline(explanation: Explanation) -> None:
    answer = f"The model calls this “{explanation.predicted_name}”, {explanation.confidence:.0%} sure"
    verdict = "and is right." if explanation.is_right else f"but its label is “{explanation.example.label_name}”."
    st.subheader(f"Test example {explanation.example.idx}", anchor=False)
    st.text(f"{answer}, {verdict} {asked_sentence(explanation)}")


def asked_sentence(explanation: Explanation) -> str:
    if explanation.asked_class == explanation.predicted:
        return "These training examples made it so, and these spoke against it."
    return f"These training examples spoke for “{explanation.asked_name}”, and these against it."


def browse(run: Run, tests: TestOverview, shown: list[int], test_idx: int) -> None:
    names = run.info.class_names
    place = shown.index(test_idx) if test_idx in shown else 0
    first = max(0, min(place - STRIP // 2, len(shown) - STRIP))
    window = shown[first : first + STRIP]
    items = [
        GalleryItem(
            example,
            f"test example {example.idx}, label {example.label_name}, model {names[tests.predicted[example.idx]]}",
            caption=example.label_name,
            other=bool(tests.predicted[example.idx] != example.label),
        )
        for example in read_examples(run, "test", window)
    ]
    gallery("Test examples", items, key="browse", on_pick=go_to_test, selected=test_idx, size=44, strip=True)


def test_card(run: Run, explanation: Explanation, building: bool) -> None:
    example = explanation.example
    with st.container(border=True, height="stretch"):
        if example.thumbnail:
            st.image(example.thumbnail, width=150, alt=f"test example {example.idx}")
        if example.text:
            st.text(example.text)
        st.text(f"Label: {example.label_name}")
        st.text(f"Model: {explanation.predicted_name} ({explanation.confidence:.0%})")
        trust_badge(explanation.trust, building)


def side(title: str, help_text: str, items: list[Attributed], which: str, selected: int | None) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown(title, help=help_text)
        gallery(
            which,
            [
                GalleryItem(
                    item.example,
                    f"{which} {item.rank}: train example {item.example.idx}, label {item.example.label_name}, "
                    f"score {item.score:+.3f}" + ("" if item.is_asked_class else ", other class"),
                    caption=f"label {item.example.label_name}",
                    score=f"{item.score:+.3f}",
                    side=which,
                    other=not item.is_asked_class,
                )
                for item in items
            ],
            key=f"{which}s",
            on_pick=pick_train,
            selected=selected,
        )


def pick_train(train_idx: int) -> None:
    st.session_state["train"] = train_idx


def train_card(run: Run, explanation: Explanation, train_idx: int | None) -> None:
    if train_idx is None:
        st.caption("Click a training example to see the part that it plays.")
        return
    role = train_role(run, train_idx, explanation.example.idx, explanation.asked_class, explanation.method)
    picture, words = st.columns([1, 3])
    if role.example.thumbnail:
        picture.image(role.example.thumbnail, width=96, alt=f"train example {train_idx}")
    with words:
        st.text(f"Train example {train_idx}, label {role.example.label_name}")
        st.text(f"Score here {role.score:+.3f}, rank {role.rank:,} of {role.n_train:,}")
        st.text(f"Among the 20 strongest proponents of {role.n_helped} test examples")
        st.text(f"Among the 20 strongest opponents of {role.n_hurt} test examples")
    if role.example.text:
        st.text(role.example.text)


run = current_run()
tests = test_overview(run)
top = st.container(gap="xsmall")  # the answer comes first on the page, though the choices decide it
shown = filter_bar(run, tests)
stories = find_stories(run, tests)
with st.container(horizontal=True, vertical_alignment="bottom"):
    with st.container(width=170):
        test_idx = choose_test(run, default=stories[0].test_idx)
    walk_buttons(shown, test_idx)
    with st.container(width=210):
        method = choose_method(run, run.method_titles)
    asked = choose_asked_class(run)
browse(run, tests, shown, test_idx)

explanation = explain(run, tests, test_idx, asked, method)
if asked is not None and explanation.asked_class != asked:
    st.info(
        f"{run.method_titles[method]} explains the label only, so this is about “{explanation.asked_name}”.",
        icon=":material/info:",
    )
with top:
    headline(explanation)
picked = st.session_state.get("train")
card, proponents, opponents = st.columns([1.1, 2, 2])
with card:
    test_card(run, explanation, building=not run.has_lds)
with proponents:
    side(
        ":blue[▲ **Proponents**]: spoke for it",
        "Training examples with the highest scores: having them in the training set raises the margin of the class asked "
        "about. A dotted line marks another class.",
        explanation.proponents, "proponent", picked,
    )
with opponents:
    side(
        ":orange[▼ **Opponents**]: spoke against it",
        "Training examples with the lowest scores: having them in the training set lowers the margin of the class asked "
        "about. A dotted line marks another class.",
        explanation.opponents, "opponent", picked,
    )
histogram, closer = st.columns([3, 2])
with histogram, st.container(border=True, height="stretch"):
    st.markdown(
        f"**All {run.info.n_train:,} scores**",
        help="A score estimates by how much the margin, log(p / (1 - p)) of the class asked about, rises when the example "
        "is added to the training set. Triangles mark the examples shown above. Counts are on a logarithmic scale.",
    )
    show(score_histogram(explanation), "scores", f"Histogram of {run.info.n_train} scores")
    st.caption(f"The 10 strongest training examples carry {explanation.top_share:.0%} of all influence.")
with closer, st.container(border=True, height="stretch"):
    st.markdown("**A training example up close**")
    train_card(run, explanation, choose_train(run))
with st.container(horizontal=True):
    share_link(
        run=run.info.name, test=test_idx, asked=st.session_state.get("asked"), method=run.method_titles[method],
        train=st.session_state.get("train"),
    )
    explanation_download(explanation)
refresh_when_published(run)
