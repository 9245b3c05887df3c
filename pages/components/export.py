"""Taking a view away: its address, its numbers, and the whole of it as one file."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from plotly.offline import get_plotlyjs

from pages.components.assets import asset
from pages.components.view import Block, Card, Figure, Table, Words, noted
from trak_core.media import Medium, Picture
from trak_core.views.media_html import data_uri, text_in_html

_COPY = st.components.v2.component(
    "copy_link", html='<button type="button">Copy link</button>', css=asset("button.css"), js=asset("copy_link.js")
)
_MIME_TYPES = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet", ".html": "text/html"}


def take_away(name: str, title: str, table: Callable[[], pd.DataFrame] | None = None, **state: object) -> None:
    """The last row of every page: copy the link, download the numbers, download the whole view.

    The address bar leaves out what is at its default, and defaults differ between machines (the first run, say); the
    copied address names the state given, and keeps the filters that the bar shows.

    Args:
        name: of the files, without an ending: letters, digits and underscores.
        title: of the view, for its file.
        table: gives the numbers of the view; None where it has none.
        state: parameters of the address; those that are None are left out.
    """
    in_bar = {name: st.query_params.get_all(name) for name in st.query_params if name not in state}
    query = urlencode({**in_bar, **{key: str(value) for key, value in state.items() if value is not None}}, doseq=True)
    with st.container(horizontal=True):
        with st.container(width="content"):
            _COPY(key="copy_link", data={"query": query})
        if table is not None:
            download_table("CSV", f"{name}.csv", table)
            download_table("Parquet", f"{name}.parquet", table)
        shown = noted()
        tip = "The whole view as one file that opens in any browser, figures included; nothing else is needed."
        _download("HTML", f"{name}.html", lambda: html_page(title, shown), tip)


def download_table(label: str, file_name: str, table: Callable[[], pd.DataFrame]) -> None:
    """A button for a table as a CSV or a Parquet file, which is made when the button is clicked."""
    if file_name.endswith(".csv"):
        _download(label, file_name, lambda: table().to_csv(index=False).encode())
    else:
        _download(label, file_name, lambda: bytes(table().to_parquet(index=False)))


def _download(label: str, file_name: str, data: Callable[[], bytes], tip: str | None = None) -> None:
    mime = _MIME_TYPES[Path(file_name).suffix]
    st.download_button(
        label, data=data, file_name=file_name, mime=mime, on_click="ignore", icon=":material/download:", help=tip
    )


def html_page(title: str, blocks: Sequence[Block]) -> bytes:
    """The blocks as one HTML file, UTF-8; figures stay interactive, images are inside, text from data is escaped."""
    body = "\n".join(_block(block) for block in blocks)
    has_figure = any(isinstance(block, Figure) for block in blocks)
    script = f"<script>{get_plotlyjs()}</script>" if has_figure else ""
    name = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{asset('html_view.css')}</style>\n{script}</head>\n<body><main><h1>{name}</h1>\n{body}\n</main>\n"
        "<footer>Made with TRAK explorer.</footer></body></html>\n"
    ).encode()


def _block(block: Block) -> str:
    if isinstance(block, Words):
        tag = "h2" if block.is_heading else "p"
        return f'<{tag} class="text">{html.escape(block.text)}</{tag}>'
    heading = f"<h2>{html.escape(block.title)}</h2>"
    if isinstance(block, Figure):
        figure = go.Figure(block.figure).update_layout(template="plotly_white", paper_bgcolor="rgba(0,0,0,0)")
        return heading + str(figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False}))
    if isinstance(block, Table):
        return heading + str(block.frame.to_html(index=False, escape=True, na_rep=""))
    return heading + '<div class="gallery">' + "".join(_card(item) for item in block.items) + "</div>"


def _card(item: Card) -> str:
    lines = "<br>".join(html.escape(caption) for caption in item.captions)
    return f"<figure>{''.join(map(_medium, item.media))}<figcaption>{lines}</figcaption></figure>"


def _medium(medium: Medium) -> str:
    name = f"<small>{html.escape(medium.name)}</small>" if medium.name else ""
    if isinstance(medium, Picture):
        return f'{name}<img src="{data_uri(medium)}" alt="">'
    return f"{name}<p>{text_in_html(medium)}</p>"
