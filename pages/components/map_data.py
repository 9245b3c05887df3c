"""What the Map page reads of a run, kept as long as the run stays what it is."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pages.components.kept import kept_per_run
from pages.components.review_queue import read_log
from pages.components.runs import test_overview
from trak_core.store.run import Run
from trak_core.views.groups import ClassInfluence, ClassMatrix, class_influence, class_matrix
from trak_core.views.map import Colour, Colouring, MapPoints, answer_scores, colouring, map_points, train_answers


@kept_per_run(max_entries=8)
def points_of(run: Run) -> MapPoints | None:
    """Where every example lies; None when the map is not drawn yet."""
    return map_points(run)


@kept_per_run(max_entries=8)
def _answers(run: Run) -> NDArray[np.int64]:
    return train_answers(run)


@kept_per_run(max_entries=8)
def influence_of(run: Run, method: str) -> ClassInfluence:
    """What every train example does to each class."""
    return class_influence(run, method)


@kept_per_run(max_entries=32)
def matrix_of(run: Run, method: str, per: Literal["together", "example"]) -> ClassMatrix:
    """How each training class moves each test class."""
    return class_matrix(run, influence_of(run, method), per)


@kept_per_run(max_entries=16)
def _colours(run: Run, by: Colour, method: str) -> Colouring:
    return colouring(run, by, method, test_overview(run), _answers(run), np.empty(0, np.float32), {})


def colours_of(run: Run, by: Colour, method: str, test_idx: int) -> Colouring:
    """The colour of every example; verdicts and scores are read anew, the rest is kept."""
    if by not in ("verdict", "score"):
        return _colours(run, by, method)
    tests, answers = test_overview(run), _answers(run)
    verdicts = {idx: verdict.verdict for idx, verdict in read_log(run).latest.items()} if by == "verdict" else {}
    scores = answer_scores(run, tests, test_idx, method)[0] if by == "score" else np.empty(0, np.float32)
    return colouring(run, by, method, tests, answers, scores, verdicts)
