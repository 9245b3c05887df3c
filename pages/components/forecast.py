"""What minutes of a build buy, found out in the background once data were checked."""

import secrets

import streamlit as st

from pages.components.jobs import background_jobs
from pages.components.view import show_error
from trak_core.errors import TrakCoreError
from trak_core.views.data_report import forecast_for, forecast_sentence, read_report

_FORECAST = "data forecast"
TOO_FEW = (
    "So few minutes may leave no time to measure trust, which can be done later; suspects and scores come all the same."
)


def show_forecast(words: tuple[str, ...], model: str | None, minutes: float) -> None:
    """A sentence on what the minutes buy with a model, for the data that the arguments of `check` name."""
    words = (*words, "--forecast", *(("--model", model) if model else ()), "--json")
    asked, key = st.session_state.get(_FORECAST, ((), ""))
    if asked != words:
        key = f"forecast {secrets.token_hex(8)}"
        st.session_state[_FORECAST] = (words, key)
        background_jobs().start(key, ["check", *words], keeps_output=True)
    status = background_jobs().status(key)
    if status is None:
        return
    if status.is_under_way:
        _wait(key)
    elif status.state == "failed":
        show_error(status.message)
    elif status.state == "done":
        try:
            found = forecast_for(read_report(status.output).forecasts, minutes)
        except TrakCoreError as error:
            show_error(error)
            return
        st.caption(TOO_FEW if found is None else forecast_sentence(found, minutes))


@st.fragment(run_every="1s")
def _wait(key: str) -> None:
    if not background_jobs().is_running(key):
        st.rerun(scope="app")
    st.caption("Trying the model, to say what the minutes buy …")
