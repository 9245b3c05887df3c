"""The explorer: navigation, theme and run picker. Start it with `streamlit run app.py`."""

import streamlit as st

from pages.components.address import bring_along, show_notices
from pages.components.help_panel import help_panel
from pages.components.pages import fresh_pages
from pages.components.routing import ROUTED
from pages.components.runs import pick_run
from pages.components.view import begin_view
from trak_core.threads import wait_passively

wait_passively()  # before a page brings torch in
st.set_page_config(page_title="TRAK explorer", page_icon=":material/travel_explore:", layout="wide")
st.session_state[ROUTED] = True
page = st.navigation(fresh_pages(), position="top")
bring_along(page.url_path)
begin_view()
with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
    help_panel()
    pick_run()
show_notices()
page.run()
