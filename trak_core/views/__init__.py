"""What the pages show, computed from a `Run`: all arithmetic of the explorer lies here, and none of its widgets."""

from trak_core.views.browse import TestFilter, TestOverview, find_tests, overview, window_around
from trak_core.views.evidence import (
    Board,
    BoardRow,
    Fit,
    board,
    board_table,
    lds_values,
    predicted_against_actual,
    ranked_by_lds,
)
from trak_core.views.examples import Example, read_examples
from trak_core.views.explanation import (
    Attributed,
    Explanation,
    TrainRole,
    Trust,
    explain,
    explanation_csv,
    train_role,
)
from trak_core.views.stories import Story, find_stories

__all__ = [
    "Attributed",
    "Board",
    "BoardRow",
    "Example",
    "Explanation",
    "Fit",
    "Story",
    "TestFilter",
    "TestOverview",
    "TrainRole",
    "Trust",
    "board",
    "board_table",
    "explain",
    "explanation_csv",
    "find_stories",
    "find_tests",
    "lds_values",
    "overview",
    "predicted_against_actual",
    "ranked_by_lds",
    "read_examples",
    "train_role",
    "window_around",
]
