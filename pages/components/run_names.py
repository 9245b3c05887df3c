"""The name and the seed of a run to be built."""

from pathlib import Path

import streamlit as st

from pages.components.runs import builds
from trak_core.errors import InvalidSettingError
from trak_core.folders import runs_dir
from trak_core.store.catalog import check_run_name

MAX_SEED = 2**53 - 1  # what a browser can count to


def name_and_seed(suggested: str) -> None:
    """The fields "new name" and "new seed"."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Name",
            key="new name",
            placeholder=suggested,
            max_chars=100,
            autocomplete="off",
            help="Letters, digits, dots, dashes and underscores. Left empty, the run gets the name that is shown.",
        )
        with st.container(width=150):
            st.number_input(
                "Seed",
                min_value=0,
                max_value=MAX_SEED,
                value=0,
                step=1,
                key="new seed",
                help="The root of every random choice. Two runs that differ only in it show what is chance.",
            )


def free_name(wanted: str) -> str:
    """The name, or the next one with a number that no run has, and none that waits to be built."""
    candidates = (wanted, *(f"{wanted}-{number}" for number in range(2, 10_000)))
    return next(name for name in candidates if not _is_taken(runs_dir() / name))


def new_run_dir(suggested: str) -> Path:
    """Where the run will lie whose name was typed, or else has the name suggested.

    Raises:
        InvalidSettingError: the name will not do, or is taken.
    """
    name = str(st.session_state["new name"] or suggested).strip()
    run_dir = runs_dir() / check_run_name(name)
    if _is_taken(run_dir):
        raise InvalidSettingError(f"There is a run “{name}” already; give the new one another name.")
    return run_dir


def _is_taken(run_dir: Path) -> bool:
    return run_dir.exists() or builds().is_running(run_dir)
