"""Explore: one test example, the training examples behind it, and how far that can be trusted."""

import streamlit as st

from pages.components.address import choose_asked_class, choose_method, choose_test, choose_train, go_to_test
from pages.components.cards import side_card, test_card, train_card
from pages.components.charts import score_histogram, show
from pages.components.export import take_away
from pages.components.filters import filter_bar, walk_buttons
from pages.components.gallery import MAX_ITEMS, GalleryItem, gallery
from pages.components.routing import through_app
from pages.components.runs import current_run, refresh_when_published, test_overview
from pages.components.text import plain
from trak_core.store.run import Run
from trak_core.views import (
    Explanation,
    TestOverview,
    explain,
    explanation_table,
    find_stories,
    read_examples,
    window_around,
)

through_app()


def headline(explanation: Explanation) -> None:
    st.subheader(f"Test example {explanation.example.idx}", anchor=False)
    if explanation.confidence is None:
        answer = f"The model answers {explanation.predicted_name}, and its target is {explanation.example.label_name}."
        st.text(f"{answer} These training examples raise the answer, and these lower it.")
        return
    answer = f"The model calls this “{explanation.predicted_name}”, {explanation.confidence:.0%} sure"
    verdict = "and is right." if explanation.is_right else f"but its label is “{explanation.example.label_name}”."
    st.text(f"{answer}, {verdict} {asked_sentence(explanation)}")


def asked_sentence(explanation: Explanation) -> str:
    if explanation.asked_class == explanation.predicted:
        return "These training examples made it so, and these spoke against it."
    return f"These training examples spoke for “{explanation.asked_name}”, and these against it."


def browse(run: Run, tests: TestOverview, shown: list[int], test_idx: int) -> None:
    items = [
        GalleryItem(
            example,
            f"test example {example.idx}, label {example.label_name}, model {tests.answers[example.idx]}",
            caption=example.label_name,
            other=bool(tests.predicted[example.idx] != example.label),
        )
        for example in read_examples(run, "test", window_around(shown, test_idx, MAX_ITEMS))
    ]
    gallery("Test examples", items, key="browse", on_pick=go_to_test, selected=test_idx, size=44, strip=True)


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
    asked = choose_asked_class(run) if run.info.has_classes else None
browse(run, tests, shown, test_idx)

explanation = explain(run, tests, test_idx, asked, method)
if asked is not None and explanation.asked_class != asked:
    st.info(
        f"{plain(run.method_titles[method])} explains the label only, so this is about "
        f"“{plain(explanation.asked_name)}”.",
        icon=":material/info:",
    )
with top:
    headline(explanation)
picked = st.session_state.get("train")
card, proponents, opponents = st.columns([1.1, 2, 2])
with card:
    test_card(explanation, will_be_measured=run.will_have_lds)
with proponents:
    side_card(explanation, "proponent", picked)
with opponents:
    side_card(explanation, "opponent", picked)
histogram, closer = st.columns([3, 2])
with histogram, st.container(border=True, height="stretch"):
    unit = (
        "A score estimates by how much the model output rises when the example is added to the training set. For "
        "classes that is the margin, log(p / (1 - p)) of the class asked about."
        if explanation.in_model_units
        else "Scores of this method have no unit: only their order counts."
    )
    st.markdown(
        f"**All {run.info.n_train:,} scores**",
        help=f"{unit} Triangles mark the examples shown above. Counts are logarithmic.",
    )
    show(score_histogram(explanation), "scores", f"Histogram of {run.info.n_train} scores")
    st.caption(f"The 10 strongest training examples carry {explanation.top_share:.0%} of all influence.")
with closer, st.container(border=True, height="stretch"):
    st.markdown("**A training example up close**")
    train_card(run, explanation, choose_train(run))
take_away(
    f"explanation_test_{test_idx}",
    f"{run.info.name}: test example {test_idx}",
    lambda: explanation_table(explanation),
    run=run.info.name,
    test=test_idx,
    asked=st.session_state.get("asked"),
    method=run.method_titles[method],
    train=st.session_state.get("train"),
)
refresh_when_published(run)
