"""Explore: one test example, the training examples behind it, and how far that can be trusted."""

import streamlit as st

from pages.components.address import (
    choose_method,
    choose_other_method,
    choose_target,
    choose_test,
    choose_train,
    go_to_test,
)
from pages.components.cards import side_card, test_card
from pages.components.explore_panels import browse, closer_panel, default_target, headline, put_beside, scores_panel
from pages.components.export import take_away
from pages.components.filters import filter_bar, neighbours_shown
from pages.components.new_input import new_input_panel
from pages.components.picks import picked_train, toggle_pick
from pages.components.routing import through_app
from pages.components.runs import current_run, refresh_when_published, test_overview
from pages.components.text import plain
from pages.components.walking import walk_buttons
from pages.components.what_if import what_if_panel
from trak_core.views.explanation import explain, explanation_table
from trak_core.views.stories import first_test

through_app()

run = current_run()
tests = test_overview(run)
top = st.container(gap="xsmall")  # the answer comes first on the page, though the choices decide it
shown = filter_bar(run, tests)
with st.container(horizontal=True, vertical_alignment="bottom"):
    with st.container(width=170):
        test_idx = choose_test(run, default=first_test(run, tests))
    walk_buttons(*neighbours_shown(shown, test_idx), go_to_test)
    with st.container(width=210):
        method = choose_method(run, run.method_titles)
    with st.container(width=210):
        beside = choose_other_method(run, run.method_titles, method)
    target = choose_target(run, test_idx, has_answer=run.info.has_classes)
browse(run, tests, shown, test_idx)

explanation = explain(run, tests, test_idx, target, method)
if target is not None and explanation.target != target:
    st.info(
        f"{plain(run.method_titles[method])} explains {default_target(run)} only, so this is about "
        f"“{plain(explanation.target_name)}”.",
        icon=":material/info:",
    )
with top:
    headline(explanation)
looked_at, picks = st.session_state.get("train"), picked_train(run)
card, proponents, opponents = st.columns([1.1, 2, 2])
with card:
    test_card(explanation, will_be_measured=run.will_have_lds)
with proponents:
    side_card(explanation, "proponent", looked_at, chosen=picks, on_choose=toggle_pick)
with opponents:
    side_card(explanation, "opponent", looked_at, chosen=picks, on_choose=toggle_pick)
if beside is not None:
    put_beside(run, tests, explanation, beside, looked_at)
left, right = st.columns([3, 2])
with left, st.container(border=True, height="stretch"):
    scores_panel(run, explanation)
with right, st.container(border=True, height="stretch"):
    st.markdown("**A training example up close**")
    closer_panel(run, explanation, choose_train(run))
with st.container(border=True):
    what_if_panel(run, test_idx, explanation.target, method)
new_input_panel(run)
take_away(
    f"explanation_test_{test_idx}",
    f"{run.info.name}: test example {test_idx}",
    lambda: explanation_table(explanation),
    run=run.info.name,
    test=test_idx,
    target=st.session_state.get("target"),
    method=run.method_titles[method],
    train=st.session_state.get("train"),
)
refresh_when_published(run)
