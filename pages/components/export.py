"""Taking a view away: its address, its numbers, and the whole of it as one file."""

import io
from collections.abc import Callable
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from pages.components.assets import asset
from pages.components.html_view import html_page
from pages.components.view import noted

_COPY = st.components.v2.component(
    "copy_link", html='<button type="button">Copy link</button>', css=asset("button.css"), js=asset("copy_link.js")
)


def share_link(**state: object) -> None:
    """A button that copies the address of this very view.

    The address bar leaves out what is at its default, and defaults differ between machines (the first run, say); the
    copied address names the state given, and keeps the filters that the bar shows.

    Args:
        state: parameters of the address; those that are None are left out.
    """
    shown = {name: st.query_params.get_all(name) for name in st.query_params if name not in state}
    query = urlencode({**shown, **{name: str(value) for name, value in state.items() if value is not None}}, doseq=True)
    with st.container(width="content"):
        _COPY(key="copy_link", data={"query": query})


def take_away(name: str, title: str, table: Callable[[], pd.DataFrame] | None = None, **state: object) -> None:
    """The last row of every page: copy the link, download the numbers, download the whole view.

    Args:
        name: of the files, without an ending: letters, digits and underscores.
        title: of the view, for its file.
        table: gives the numbers of the view; None where it has none.
        state: parameters of the address, as in `share_link`.
    """
    with st.container(horizontal=True):
        share_link(**state)
        if table is not None:
            _download("CSV", f"{name}.csv", "text/csv", lambda: table().to_csv(index=False).encode())
            _download("Parquet", f"{name}.parquet", "application/vnd.apache.parquet", lambda: _parquet(table()))
        shown = noted()
        _download(
            "HTML",
            f"{name}.html",
            "text/html",
            lambda: html_page(title, shown),
            "The whole view as one file that opens in any browser, figures included; nothing else is needed.",
        )


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _download(kind: str, file_name: str, mime: str, data: Callable[[], bytes], tip: str | None = None) -> None:
    st.download_button(
        kind, data=data, file_name=file_name, mime=mime, on_click="ignore", icon=":material/download:", help=tip
    )
