"""More evidence for a run, at the press of a button."""

import streamlit as st

from pages.components.runs import builds, is_busy
from pages.components.text import for_page
from trak_core.store.progress import read_status
from trak_core.store.run import Run
from trak_core.subjects.custom_data import MAX_MINUTES
from trak_core.views.evidence_to_come import EvidenceToCome


def evidence_to_come_panel(run: Run, to_come: EvidenceToCome) -> None:
    """What there is and what more would take, with a field for the minutes and a button; nothing while it is busy."""
    if is_busy(run):
        return
    key = f"more minutes {run.info.name} {to_come.n_measured}"
    with st.container(border=True, horizontal=True, vertical_alignment="bottom"):
        with st.container(width="stretch", gap="xsmall"):
            st.markdown(f"**{to_come.sentence}**")
            st.caption(
                "Models are retrained on random halves of the training data, and the scores have to predict what these "
                "say. It stops when the minutes are over, and can go on again later."
            )
            begun = read_status(run.path)
            if problem := builds().failure(run.path) or (begun.message if begun else None):
                st.text(for_page(problem))
        st.number_input(
            "Minutes", 0.1, float(MAX_MINUTES), float(to_come.minutes), 1.0, format="%g", key=key, width=130
        )
        st.button(
            "Measure trust" if not to_come.n_measured else "Measure more",
            type="secondary" if to_come.n_measured else "primary",
            on_click=_start,
            args=(run, key),
            icon=":material/science:",
        )


def _start(run: Run, key: str) -> None:
    builds().start_build(run.path, ["extend", run.info.name, "--minutes", f"{st.session_state[key]:g}"])
