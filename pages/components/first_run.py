"""With no run at all, the digits run builds itself; this is what is seen meanwhile."""

from pathlib import Path

import streamlit as st

from pages.components.pages import EXPLORE
from pages.components.runs import builds, place_in_line
from pages.components.text import plain
from trak_core.folders import runs_dir
from trak_core.store.catalog import published_runs, run_dirs
from trak_core.store.progress import BuildStatus, read_status

NAME = "digits"
COMMAND = ["build", NAME]


def is_first_run() -> bool:
    """True when there is no run but, perhaps, the first one under way."""
    return not [path for path in run_dirs() if path.name != NAME]


@st.fragment(run_every="1s")
def first_run() -> None:
    """Starts the first build if nothing builds, shows how far it is, and opens the explorer when it can be browsed."""
    if published_runs():
        st.switch_page(EXPLORE)
    run_dir = runs_dir() / NAME
    status = read_status(run_dir)
    command = status.command if status and status.command else COMMAND  # an unfinished build keeps its settings
    problem = _problem(run_dir, status)
    if problem:
        st.error(f"The first run could not be built: {plain(problem)}", icon=":material/error:")
        st.button("Try again", on_click=builds().start_build, args=(run_dir, command), icon=":material/refresh:")
        return
    if status is None or status.state != "running":
        builds().start_build(run_dir, command)
    with st.container(border=True):
        st.subheader("Building your first run: handwritten digits")
        fraction = status.fraction if status else 0.0
        step = status.step if status else "starting"
        st.progress(fraction, text=place_in_line(run_dir) or f"{step[:1].upper()}{step[1:]} …")
        left = status.seconds_to_scores if status else None
        st.write(f"The explorer opens in about {left:.0f} seconds." if left else "The explorer opens within a minute.")
        st.caption(
            "20 small networks are trained on 1,437 images, then 400 more on random halves of them, as proof of what "
            "the scores say. Everything is computed on this machine."
        )


def _problem(run_dir: Path, status: BuildStatus | None) -> str | None:
    if builds().is_running(run_dir) or (status is not None and status.state == "running"):
        return None
    if status is not None and status.state == "failed":
        return status.message
    return builds().failure(run_dir)
