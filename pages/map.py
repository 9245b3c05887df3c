"""Map: all examples by what they teach the model, and what groups of them do."""

import streamlit as st

from pages.components.routing import through_app
from pages.components.runs import current_run

through_app()

run = current_run()
st.subheader("Map", anchor=False)
