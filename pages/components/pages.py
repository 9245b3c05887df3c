"""The pages by name, so that any page can link to any other."""

from pathlib import Path

import streamlit as st

__all__ = ["EVIDENCE", "EXPLORE", "HOME"]

_FOLDER = Path(__file__).resolve().parents[1]

HOME = st.Page(
    _FOLDER / "home.py",
    title="Home",
    icon=":material/home:",
    url_path="home",
    default=True,
    help="Your runs, how far their builds are, and stories to begin with.",
)
EXPLORE = st.Page(
    _FOLDER / "explore.py",
    title="Explore",
    icon=":material/search:",
    url_path="explore",
    help="Pick a test example and see which training examples made the model say what it says.",
)
EVIDENCE = st.Page(
    _FOLDER / "evidence.py",
    title="Evidence",
    icon=":material/verified:",
    url_path="evidence",
    help="How well the scores foretell what happens when models are retrained on other data.",
)
