"""A view taken away as one file: whole, quiet, and safe."""

import re
from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go
import pytest

from pages.components.export import html_page
from pages.components.view import Card, Cards, Figure, Table, Words
from trak_core.media import Picture, Text

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">'
PNG = b"\x89PNG\r\n\x1a\n0000"


class Tags(HTMLParser):
    """The tags of a page as a browser reads it, and what its scripts say."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[str]]] = []
        self.scripts = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts += data


def page(*blocks) -> str:
    return html_page("A view", blocks).decode()


@pytest.mark.parametrize(
    "block",
    [
        Words(EVIL),
        Words(EVIL, is_heading=True),
        Cards(EVIL, (Card((Text(EVIL, EVIL, ((0, 8, 0.5),)), Picture(PNG, EVIL)), (EVIL,)),)),
        Table(EVIL, pd.DataFrame({EVIL: [EVIL]})),
        Figure(EVIL, go.Figure(go.Bar(x=["a"], y=[1]))),
    ],
    ids=lambda block: type(block).__name__,
)
def test_text_from_data_never_becomes_html(block):
    markup = re.sub(r"<script>/\*\*.*?</script>", "", page(block), flags=re.S)  # without the figure program
    found = Tags()
    found.feed(markup)
    assert not [tag for tag, attributes in found.tags if "onerror" in attributes]
    assert "alert(1)" not in found.scripts


def test_labels_inside_a_figure_cannot_leave_its_script():
    figure = go.Figure(go.Bar(x=["</script><script>alert(1)</script>"], y=[1]))
    assert "</script><script>alert(1)" not in page(Figure("a figure", figure))


def test_nothing_is_fetched_from_anywhere():
    text = page(
        Words("hello"), Figure("f", go.Figure(go.Bar(x=[1], y=[1]))), Cards("p", (Card((Picture(PNG),), ("a",)),))
    )
    markup = re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.S)
    assert not re.search(r"(src|href)=[\"'](?!data:)", markup)
    assert "data:image/png;base64," in markup
    assert "Plotly.newPlot" in text


def test_a_view_without_figures_does_not_carry_the_figure_program():
    assert len(page(Words("hello"))) < 5_000
