"""Training item: one training example, and the test examples that it helps and hurts."""

import streamlit as st

from pages.components.routing import through_app
from pages.components.runs import current_run

through_app()

run = current_run()
st.subheader("Training item", anchor=False)
