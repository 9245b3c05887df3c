"""Evidence: do the scores predict what happens when models are retrained on other data?"""

import streamlit as st

from pages.components.address import choose_method, choose_test
from pages.components.charts import lds_histogram, show
from pages.components.evidence_panels import (
    checkpoints_panel,
    choose_by_picture,
    cost_panel,
    example_panel,
    headline,
    measure_panel,
    method_panel,
    removal_panel,
    ridge_panel,
    truth_panel,
    why_panel,
)
from pages.components.export import take_away
from pages.components.routing import through_app
from pages.components.runs import can_be_measured, current_run, is_busy, refresh_when_published, test_overview
from pages.components.text import plain
from trak_core.views.evidence import board, board_table, lds_values, notes_of, why_no_evidence
from trak_core.views.stories import first_test

through_app()

run = current_run()
if not run.has_lds and not run.will_have_lds:
    st.subheader("Nothing was retrained for this run", anchor=False)
    st.write(why_no_evidence(run))
    if not is_busy(run) and can_be_measured(run):
        measure_panel(run)
    st.stop()
if not run.has_lds:
    st.subheader("The evidence is not there yet", anchor=False)
    st.write(
        "Models are being retrained on random halves of the training data. This page shows what came out as soon as "
        "they are done; nothing needs to be reloaded. If the build was stopped, “Go on” on the Home page continues it."
    )
    refresh_when_published(run)
    st.stop()

found = board(run)
headline(found)
for sentence in notes_of(run):
    st.caption(plain(sentence))
if is_busy(run):
    refresh_when_published(run)
elif not found.is_measured and can_be_measured(run):
    measure_panel(run)
left, right = st.columns(2)
with left:
    with st.container(border=True):
        method_panel(found)
    with st.container(border=True):
        checkpoints_panel(found)
with right:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            with st.container(width=170):
                test_idx = choose_test(run, default=first_test(run, test_overview(run)))
            with st.container(width=210):
                method = choose_method(run, run.method_titles)
        chosen = example_panel(run, method, test_idx)
    with st.container(border=True):
        st.markdown("**LDS of every test example**", help="How many test examples are predicted how well.")
        values = lds_values(run, method)
        show(lds_histogram(values.tolist(), chosen), "lds", f"Histogram of LDS over {len(values)} test examples")
    with st.container(border=True):
        why_panel(run, found)
    with st.container(border=True):
        ridge_panel(run)
left, right = st.columns(2)
with left, st.container(border=True, height="stretch"):
    removal_panel(run)
with right, st.container(border=True, height="stretch"):
    truth_panel(run)
with st.container(border=True):
    cost_panel(found)
with st.container(border=True):
    choose_by_picture(run, method, test_idx)
take_away(
    f"evidence_{run.info.name}",
    f"{run.info.name}: evidence",
    lambda: board_table(found),
    run=run.info.name,
    test=test_idx,
    method=run.method_titles[method],
)
