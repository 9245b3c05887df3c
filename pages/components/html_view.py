"""A view as one HTML file: figures stay interactive, images are inside, and nothing is fetched from anywhere."""

import html
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from pages.components.assets import asset
from pages.components.view import Block, Card, Figure, Table, Words
from trak_core.media import Medium, Picture
from trak_core.views.media_html import data_uri, text_in_html


def html_page(title: str, blocks: Sequence[Block]) -> bytes:
    """The blocks as a self-contained page, UTF-8; all text from data is escaped."""
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
