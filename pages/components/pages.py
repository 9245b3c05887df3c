"""The pages by name, so that any page can link to any other."""

from pathlib import Path

import streamlit as st

__all__ = ["ALL", "EVIDENCE", "EXPLORE", "HOME", "MAP", "PRESENT", "REVIEW", "RUNS", "TRAIN"]

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
TRAIN = st.Page(
    _FOLDER / "training_item.py",
    title="Training item",
    icon=":material/history_edu:",
    url_path="training_item",
    help="The way back: one training example, and the test examples that it helps and hurts.",
)
MAP = st.Page(
    _FOLDER / "map.py",
    title="Map",
    icon=":material/scatter_plot:",
    url_path="map",
    help="All examples by what they teach the model; pick groups and see what they do.",
)
REVIEW = st.Page(
    _FOLDER / "review.py",
    title="Label review",
    icon=":material/rule:",
    url_path="review",
    help="Training examples whose label looks wrong, worst first.",
)
RUNS = st.Page(
    _FOLDER / "runs.py",
    title="Runs",
    icon=":material/folder_open:",
    url_path="runs",
    help="Build, compare, look behind and take away runs.",
)
PRESENT = st.Page(
    _FOLDER / "present.py",
    title="Present",
    icon=":material/slideshow:",
    url_path="present",
    visibility="hidden",
    help="The stories of a run one after another, in large type, for showing to others.",
)
ALL = (HOME, EXPLORE, TRAIN, MAP, EVIDENCE, REVIEW, RUNS, PRESENT)
"""In the order of the navigation."""
