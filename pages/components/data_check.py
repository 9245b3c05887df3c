"""The report on a person's own data, made in a process of its own while the page stays live."""

import secrets

import streamlit as st

from pages.components.jobs import background_jobs, watch_job
from pages.components.text import plain
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.report import DataReport
from trak_core.errors import TrakCoreError
from trak_core.views.data_report import class_table, findings_of, read_report, report_sentences

_CHECK = "data check"
_REPORT = "data report"
TABLE_HEIGHT = 300
MANY_ROWS = 10


def _words(source: CustomData) -> tuple[str, ...]:
    return (*source.words(), "--seed", str(source.seed))


def start_check(source: CustomData) -> None:
    """Begins to read the data; for callbacks."""
    # A key of its own: data may have changed since somebody else had them checked.
    key = f"check {secrets.token_hex(8)}"
    st.session_state.pop(_REPORT, None)
    st.session_state[_CHECK] = (_words(source), key)
    background_jobs().start(key, ["check", *_words(source), "--json"], keeps_output=True)


def is_checking(source: CustomData) -> bool:
    """True while these very data are being read."""
    words, key = st.session_state.get(_CHECK, ((), ""))
    return words == _words(source) and background_jobs().is_running(key)


def checked_report(source: CustomData) -> DataReport | None:
    """The report on these data, read in this very way; None where there is none."""
    _collect()
    words, report = st.session_state.get(_REPORT, ((), None))
    return report if words == _words(source) else None


def _collect() -> None:
    """Takes the report of a check that is done out of the jobs."""
    words, key = st.session_state.get(_CHECK, ((), ""))
    status = background_jobs().status(key)
    if status is None or status.state != "done":
        return
    background_jobs().forget(key)
    try:
        st.session_state[_REPORT] = (words, read_report(status.output))
        del st.session_state[_CHECK]
    except TrakCoreError as error:
        st.error(plain(error), icon=":material/error:")


def show_check(source: CustomData, report: DataReport | None) -> None:
    """How far reading is, why it failed, or what is in the data."""
    words, key = st.session_state.get(_CHECK, ((), ""))
    status = background_jobs().status(key)
    if report is not None:
        _show_report(report)
    elif words == _words(source) and status is not None:
        if status.is_under_way:
            watch_job(background_jobs(), key, "Checking the data")
        elif status.state == "failed":
            st.error(plain(status.message[:1].upper() + status.message[1:]), icon=":material/error:")


def _show_report(report: DataReport) -> None:
    for sentence in report_sentences(report):
        st.text(sentence)
    findings = findings_of(report)
    if not findings:
        st.success("Every example can be read, and none occurs twice.", icon=":material/check_circle:")
    table = class_table(report)
    st.dataframe(
        table,
        hide_index=True,
        height="content" if len(table) <= MANY_ROWS else TABLE_HEIGHT,
        column_config={"class": st.column_config.Column(width="medium")},
        key="data classes",
    )
    for finding in findings:
        with st.expander(finding.title):
            st.caption(finding.help)
            st.dataframe(finding.table, hide_index=True, key=f"data {finding.title}")
