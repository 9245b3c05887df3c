"""Cleaned data in the form in which they came: prepared when asked for, looked at, taken away."""

from pathlib import Path

import streamlit as st

from pages.components.background_button import background_button
from pages.components.text import plain, told
from pages.components.view import Table, note
from trak_core.errors import TrakCoreError
from trak_core.exchange.cleaned_data import HandedOver, hand_over
from trak_core.exchange.source_again import find_source, knows_source
from trak_core.store.retrainings import Corrections
from trak_core.store.reviews import ReviewLog
from trak_core.store.run import Run
from trak_core.views.retraining import corrections_of

_PREPARED = "cleaned data"
"""Session key of what was prepared last: of which labels, and the data or why there are none."""


def cleaned_data_panel(run: Run, log: ReviewLog) -> None:
    """The data of a run with the labels that the review mended; nothing where the run does not know its data."""
    if not knows_source(run):
        return
    corrections = corrections_of(run, log)
    with st.container(border=True):
        st.markdown(
            "**Cleaned data**",
            help="Your data with the mended labels and without what is excluded, in the form in which they came: the "
            "same table or arrays with other labels, or moves of images from one class folder to another. Your data "
            "stay as they are.",
        )
        path = None if _is_here(run) else st.text_input("Where the data of this run lie now", key="cleaned source")
        st.button(
            "Prepare cleaned data",
            icon=":material/cleaning_services:",
            disabled=not corrections.wrong or path == "",
            on_click=_prepare,
            args=(run, corrections, path),
        )
        prepared = st.session_state.get(_PREPARED)
        if prepared is not None and prepared[0] == (run.path, corrections):
            _show(prepared[1])


def _is_here(run: Run) -> bool:
    try:
        find_source(run)
    except TrakCoreError:
        return False
    return True


def _prepare(run: Run, corrections: Corrections, path: str | None) -> None:
    made: HandedOver | str
    try:
        made = hand_over(run, Path(path).expanduser() if path else None)
    except TrakCoreError as error:
        made = told(error)
    st.session_state[_PREPARED] = ((run.path, corrections), made)


def _show(made: HandedOver | str) -> None:
    if isinstance(made, str):
        st.error(made, icon=":material/error:")
        return
    st.text(made.sentence)
    note("cleaned data", Table("Cleaned data", made.table))
    st.dataframe(made.table, hide_index=True)
    st.download_button(
        f"Download {plain(made.file_name)}",
        data=made.content,
        file_name=made.file_name,
        mime="application/octet-stream",
        on_click="ignore",
        icon=":material/download:",
    )
    if made.copy_to is not None:
        st.caption(plain(f"The same changes in a copy of your data, {made.copy_to}:"))
        background_button(
            "Write the cleaned copy",
            key=f"cleaned {made.arguments} {hash(made.content)}",
            arguments=made.arguments,
            doing="Writing the cleaned copy",
            done=f"The cleaned data are in {made.copy_to}.",
            icon=":material/drive_file_move:",
        )
