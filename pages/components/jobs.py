"""The background work of this server, shared by all pages and visitors."""

import streamlit as st

from trak_core.jobs import Jobs

__all__ = ["background_jobs"]


@st.cache_resource(show_spinner=False)
def background_jobs() -> Jobs:
    """The one list of jobs of this server."""
    return Jobs()
