"""The background work of this server, shared by all pages and visitors."""

import streamlit as st

from pages.components.text import told
from trak_core.jobs import Jobs


@st.cache_resource(show_spinner=False)
def background_jobs() -> Jobs:
    """The one list of jobs of this server."""
    return Jobs()


@st.fragment(run_every="1s")
def watch_job(key: str, doing: str) -> None:
    """How far a job is, what it is `doing`, and a button that cancels it; the page is drawn anew once it has ended."""
    status = background_jobs().status(key)
    if status is None or not status.is_under_way:
        st.rerun(scope="app")
    with st.container(horizontal=True, vertical_alignment="center"):
        if status.state == "waiting":
            st.progress(0.0, text=status.place_in_line)
        else:
            left = "" if status.seconds_left is None else f", about {status.seconds_left:.0f} s left"
            st.progress(status.fraction, text=f"{doing}: {status.step or 'starting'}{left}")
        st.button("Cancel", icon=":material/cancel:", on_click=_cancel, args=(key,), key=f"cancel {key}")


def _cancel(key: str) -> None:
    background_jobs().stop(key)


def is_retraining(key: str) -> bool:
    """Shows how far a retraining is, or how it ended without a result; True while it is under way."""
    status = background_jobs().status(key)
    if status is not None and status.is_under_way:
        watch_job(key, "Retraining")
        return True
    if status is not None and status.state == "failed":
        st.error(f"Retraining failed: {told(status.message)}", icon=":material/error:")
    elif status is not None and status.state == "stopped":
        st.caption("Retraining was cancelled; nothing was kept of it.")
    return False
