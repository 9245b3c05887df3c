"""The background work of this server, shared by all pages and visitors."""

import streamlit as st

from trak_core.jobs import Jobs


@st.cache_resource(show_spinner=False)
def background_jobs() -> Jobs:
    """The one list of jobs of this server."""
    return Jobs()


@st.fragment(run_every="1s")
def watch_job(jobs: Jobs, key: str, doing: str) -> None:
    """How far a job is, and a button that cancels it; the page is drawn anew once it has ended.

    Args:
        jobs: that it is one of.
        key: that it was started under.
        doing: a word for the work, before its steps.
    """
    status = jobs.status(key)
    if status is None or not status.is_under_way:
        st.rerun(scope="app")
    with st.container(horizontal=True, vertical_alignment="center"):
        if status.state == "waiting":
            st.progress(0.0, text=status.place_in_line)
        else:
            left = "" if status.seconds_left is None else f", about {status.seconds_left:.0f} s left"
            st.progress(status.fraction, text=f"{doing}: {status.step or 'starting'}{left}")
        st.button("Cancel", icon=":material/cancel:", on_click=_cancel, args=(jobs, key), key=f"cancel {key}")


def _cancel(jobs: Jobs, key: str) -> None:
    jobs.stop(key)
