"""What the Map page reads of a run, kept as long as the run stays what it is."""

from typing import Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.components.review_queue import read_log
from pages.components.runs import test_overview
from trak_core.store.run import Run
from trak_core.views import (
    ClassInfluence,
    ClassMatrix,
    Colour,
    Colouring,
    MapPoints,
    answer_scores,
    class_influence,
    class_matrix,
    colouring,
    map_points,
    train_answers,
)

__all__ = ["colours_of", "influence_of", "matrix_of", "points_of"]

_Generation = tuple[int, int, int] | None


@st.cache_resource(max_entries=8, show_spinner=False)
def _points(_run: Run, path: str, published: _Generation) -> MapPoints | None:
    return map_points(_run)


@st.cache_resource(max_entries=8, show_spinner=False)
def _answers(_run: Run, path: str, published: _Generation) -> NDArray[np.int64]:
    return train_answers(_run)


@st.cache_resource(max_entries=8, show_spinner=False)
def _influence(_run: Run, path: str, published: _Generation, method: str) -> ClassInfluence:
    return class_influence(_run, method)


@st.cache_resource(max_entries=32, show_spinner=False)
def _matrix(
    _run: Run, path: str, published: _Generation, method: str, per: Literal["together", "example"]
) -> ClassMatrix:
    return class_matrix(_run, influence_of(_run, method), per)


@st.cache_resource(max_entries=16, show_spinner=False)
def _colours(_run: Run, path: str, published: _Generation, by: Colour, method: str) -> Colouring:
    answers = _answers(_run, path, published)
    return colouring(_run, by, method, test_overview(_run), answers, np.empty(0, np.float32), {})


def points_of(run: Run) -> MapPoints | None:
    """Where every example lies; None when the map is not drawn yet."""
    return _points(run, str(run.path), run.generation)


def influence_of(run: Run, method: str) -> ClassInfluence:
    """What every train example does to each class."""
    return _influence(run, str(run.path), run.generation, method)


def matrix_of(run: Run, method: str, per: Literal["together", "example"]) -> ClassMatrix:
    """How each training class moves each test class."""
    return _matrix(run, str(run.path), run.generation, method, per)


def colours_of(run: Run, by: Colour, method: str, test_idx: int) -> Colouring:
    """The colour of every example; verdicts and scores are read anew, the rest is kept."""
    if by not in ("verdict", "score"):
        return _colours(run, str(run.path), run.generation, by, method)
    tests, answers = test_overview(run), _answers(run, str(run.path), run.generation)
    verdicts = {idx: verdict.verdict for idx, verdict in read_log(run).latest.items()} if by == "verdict" else {}
    scores = answer_scores(run, tests, test_idx, method)[0] if by == "score" else np.empty(0, np.float32)
    return colouring(run, by, method, tests, answers, scores, verdicts)
