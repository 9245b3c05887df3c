"""Map: all examples by what they teach the model, and what groups of them do."""

from functools import partial

import streamlit as st

from pages.components.address import choose_method, choose_test
from pages.components.export import take_away
from pages.components.map_data import colours_of, points_of
from pages.components.map_panels import choose_colour, map_panel, matrix_panel, no_map, picked_panel, say
from pages.components.picks import picked_train
from pages.components.routing import through_app
from pages.components.runs import current_run, refresh_when_published, test_overview
from pages.components.what_if import what_if_panel
from trak_core.views.map import colour_options, map_table
from trak_core.views.stories import first_test

through_app()

run = current_run()
st.subheader("Map", anchor=False)
say(
    "headline",
    "Every point is one example. Those that teach the model much the same lie close together, and those that it takes "
    "for one thing and the other lie in between.",
)
picks = picked_train(run)
with st.container(horizontal=True, vertical_alignment="bottom"):
    with st.container(width=230):
        method = choose_method(run, run.method_titles)
    with st.container(width=190):
        colour = choose_colour(colour_options(run, method))
    with st.container(width=170):
        test_idx = choose_test(run, default=first_test(run, test_overview(run)))
points = points_of(run)
colours = colours_of(run, colour, method, test_idx)
left, right = st.columns([3, 2]) if run.info.has_classes else (st.container(), None)
with left:
    if points is None:
        no_map(run)
    else:
        with st.container(border=True):
            map_panel(run, points, colours, picks, test_idx)
    with st.container(border=True):
        picked_panel(run, picks, test_idx, method)
if right is not None:
    with right, st.container(border=True):
        matrix_panel(run, method)
with st.container(border=True):
    what_if_panel(run, test_idx, None, method)
take_away(
    f"map_{run.info.name}",
    f"{run.info.name}: map",
    None if points is None else partial(map_table, points, colours, picks),
    run=run.info.name,
    colour=colour,
    test=test_idx,
    method=run.method_titles[method],
)
if points is not None:
    refresh_when_published(run)
