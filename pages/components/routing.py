"""Sees to it that a page is only ever drawn through `app.py`."""

import runpy
from pathlib import Path

import streamlit as st

ROUTED = "routed"
_APP = Path(__file__).resolve().parents[2] / "app.py"


def through_app() -> None:
    """Call this first on every page.

    Until `st.navigation` has been called once, a fresh Streamlit server takes the folder `pages/` for a list of
    pages of its own, and the first visitor's deep link runs a page without `app.py`. Such a page starts `app.py`
    here, which then draws it in the right way; from there on, in every session, this does nothing.
    """
    if not st.session_state.pop(ROUTED, False):  # set anew by every run of app.py
        runpy.run_path(str(_APP))
        st.stop()
