"""Runs: build, compare, look behind and export runs."""

import streamlit as st

from pages.components.address import leave_out
from pages.components.compare_panel import choose_sides, compare_panel
from pages.components.custom_data import custom_data_panel
from pages.components.export import take_away
from pages.components.new_run import open_file_panel, recipe_panel
from pages.components.provenance_panel import provenance_panel
from pages.components.routing import through_app
from pages.components.run_panels import run_list, runs_table, show_said
from pages.components.runs import current_run, refresh_when_published, run_with_scores
from pages.components.text import plain
from pages.components.view import Table, note
from trak_core.views.compare import agreement_table
from trak_core.views.provenance import metadata_table

through_app()

TABS = ("All runs", "Compare", "Details")


def show_all() -> None:
    st.text("Every run is one model, its data and its explanations; start another, watch it grow, or open a file.")
    show_said()
    left, right = st.columns([3, 2])
    with right:
        with st.container(border=True):
            show_new_run()
        with st.container(border=True):
            open_file_panel()
    with left:
        note("runs", Table("Runs", runs_table()))
        run_list(with_tools=True)
    take_away("runs", "Runs", runs_table, run=st.session_state.get("run"), show=TABS[0])


def show_new_run() -> None:
    st.markdown("**New run**", help="A recipe brings data, a model and how it is trained; everything is computed here.")
    sources = {"A recipe": recipe_panel, "Your own data": custom_data_panel}
    source = st.segmented_control(
        "Build from", [*sources], default="A recipe", required=True, key="new source", label_visibility="collapsed"
    )
    sources[source or "A recipe"]()


def show_comparison() -> None:
    run = run_with_scores()
    st.text("Do two explanations agree? This sets one method beside another, of this run or of two runs.")
    method, other, other_method = choose_sides(run)
    found = compare_panel(run, method, other, other_method)
    take_away(
        f"comparison_{run.info.name}",
        f"{run.info.name}: {run.method_titles[method]} against {other.info.name}: {other.method_titles[other_method]}",
        None if found is None else lambda: agreement_table(found),
        run=run.info.name,
        show=TABS[1],
        method=run.method_titles[method],
        other=other.info.name,
        other_method=other.method_titles[other_method],
        test=st.session_state.get("test"),
    )
    refresh_when_published(run)


def show_provenance() -> None:
    run = current_run()
    st.text("What this run was made from, down to seeds, versions and fingerprints, and whether it is still whole.")
    provenance_panel(run)
    take_away(
        f"provenance_{run.info.name}",
        f"{run.info.name}: what it was made from",
        lambda: metadata_table(run),
        run=run.info.name,
        show=TABS[2],
    )
    refresh_when_published(run)


asked = st.query_params.get("show")
if asked is not None and asked not in TABS:
    leave_out("show", f"This page has no part “{plain(asked)}”; this is “{TABS[0]}”.")
tabs = st.tabs(TABS, key="show", bind="query-params", on_change="rerun")
for tab, draw in zip(tabs, (show_all, show_comparison, show_provenance), strict=True):
    if tab.open:
        with tab:
            draw()
