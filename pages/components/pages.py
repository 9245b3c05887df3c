"""The pages by name, so that any page can link to any other."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import streamlit as st

_FOLDER = Path(__file__).resolve().parents[1]
_FACTS: dict[str, tuple[str, str, str]] = {
    "home": ("Home", "home", "Your runs, how far their builds are, and stories to begin with."),
    "explore": (
        "Explore",
        "search",
        "Pick a test example and see which training examples made the model say what it says.",
    ),
    "training_item": (
        "Training item",
        "history_edu",
        "The way back: one training example, and the test examples that it helps and hurts.",
    ),
    "map": ("Map", "scatter_plot", "All examples by what they teach the model; pick groups and see what they do."),
    "evidence": (
        "Evidence",
        "verified",
        "How well the scores predict what happens when models are retrained on other data.",
    ),
    "review": ("Label review", "rule", "Training examples whose label looks wrong, worst first."),
    "runs": ("Runs", "folder_open", "Build, compare, look behind and take away runs."),
    "present": (
        "Present",
        "slideshow",
        "The stories of a run one after another, in large type, for showing to others.",
    ),
}
"""File of each page, in the order of the navigation: title, icon and what it is for."""
_HIDDEN = {"present"}


def _page(name: str) -> st.Page:
    title, icon, help_text = _FACTS[name]
    visibility: Literal["visible", "hidden"] = "hidden" if name in _HIDDEN else "visible"
    return st.Page(
        _FOLDER / f"{name}.py",
        title=title,
        icon=f":material/{icon}:",
        url_path=name,  # the name of the file: see `through_app`
        default=name == "home",
        visibility=visibility,
        help=help_text,
    )


def fresh_pages() -> list[st.Page]:
    """All pages for `st.navigation`, made anew: such a page remembers that it was drawn, and visitors share modules."""
    return [_page(name) for name in _FACTS]


def page_address(page: st.Page, **state: object) -> str:
    """The address of a page within the app, for links of components; state that is None is left out."""
    return f"{page.url_path}?{urlencode({name: str(value) for name, value in state.items() if value is not None})}"


def link_to(page: st.Page, label: str, icon: str, **state: object) -> None:
    """A link to a page with parameters of its address; state that is None is left out."""
    given = {name: str(value) for name, value in state.items() if value is not None}
    st.page_link(page, label=label, icon=f":material/{icon}:", query_params=given)


HOME = _page("home")
EXPLORE = _page("explore")
TRAIN = _page("training_item")
EVIDENCE = _page("evidence")
REVIEW = _page("review")
RUNS = _page("runs")
PRESENT = _page("present")
