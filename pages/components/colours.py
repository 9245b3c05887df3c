"""The colours that charts and components share. Blue helps, orange hurts, on every page; a sign says so besides."""

BLUE, ORANGE, GREY = "#3d7fc4", "#d97a2b", "#8a949c"
LINES = ("#3d7fc4", "#7a5ab5", "#2a9d8f", "#8a949c", "#b5852a", "#a8577e")
"""One colour a line, where lines are methods and nothing helps or hurts."""
DIVERGING = ((0.0, "#b8540a"), (0.25, "#e0a06f"), (0.5, "#eceeec"), (0.75, "#82add6"), (1.0, "#1f5fa8"))
"""From hurts to helps, for colour scales whose middle is zero."""
CLASS_COLOURS = (
    *("#3d7fc4", "#d97a2b", "#4c9a6b", "#9468b8", "#b8973a"),
    *("#4fa3c7", "#c4566f", "#7d8b92", "#2a9d8f", "#94653f"),
)
"""One colour a class, the same on every page; readable on light and on dark ground."""


def class_colour(label: int) -> str:
    """The colour of a class; after ten classes they begin again."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]
