"""Runs: build, compare, look behind and take away runs."""

import streamlit as st

from pages.components.routing import through_app
from pages.components.runs import current_run

through_app()

run = current_run()
st.subheader("Runs", anchor=False)
