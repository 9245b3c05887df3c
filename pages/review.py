"""Label review: training examples whose label looks wrong, worst first."""

import streamlit as st

from pages.components.routing import through_app
from pages.components.runs import current_run

through_app()

run = current_run()
st.subheader("Label review", anchor=False)
