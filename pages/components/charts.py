"""The figures of the pages, and their colours: blue helps, orange hurts, on every page; a sign says so besides."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.components.text import in_html, shortened
from pages.components.view import Figure, note
from trak_core.store.what_ifs import Verified
from trak_core.views.documents import DocumentInfluence
from trak_core.views.evidence import Board, RemovalCurve
from trak_core.views.explanation import Explanation
from trak_core.views.fit import Fit
from trak_core.views.retraining import LabelSetRow
from trak_core.views.what_if import Prediction

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
LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
_CONFIG = {"displaylogo": False, "modeBarButtons": [["toImage"]], "toImageButtonOptions": {"scale": 2}}


def class_colour(label: int) -> str:
    """The colour of a class; after ten classes they begin again."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def show(figure: go.Figure, key: str, alt: str) -> None:
    """Puts a figure on the page, with a button that saves it as PNG."""
    note(key, Figure(alt, figure))
    st.plotly_chart(figure, key=key, config=_CONFIG, alt=alt)


def new_figure(height: int, x_title: str = "", y_title: str = "") -> go.Figure:
    """An empty figure that looks like the others; its height in pixels."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        showlegend=False,
        xaxis={"title": x_title, "zeroline": False},
        yaxis={"title": y_title, "zeroline": False},
        bargap=0.06,
    )
    return figure


def interval(
    values: Iterable[float], lows: Iterable[float], highs: Iterable[float], colour: str, **looks: float
) -> dict[str, Any]:
    """Error bars from `lows` to `highs` around values."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, high in zip(values, highs, strict=True)],
        "arrayminus": [value - low for value, low in zip(values, lows, strict=True)],
        "color": colour,
        **looks,
    }


def score_histogram(explanation: Explanation) -> go.Figure:
    """All scores of an explanation; triangles mark the train examples that are shown."""
    edges, counts = explanation.bin_edges, explanation.bin_counts
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    unit = "score (change of the model output)" if explanation.in_model_units else "score (no unit)"
    figure = new_figure(260, unit, "training examples")
    figure.add_bar(
        x=middles,
        y=counts,
        width=edges[1] - edges[0],
        marker_color=[_sign_colour(low, high) for low, high in itertools.pairwise(edges)],
        marker_opacity=0.75,
        hovertemplate="%{y} training examples near %{x:.3g}<extra></extra>",
    )
    for side, colour in ((explanation.proponents, BLUE), (explanation.opponents, ORANGE)):
        figure.add_scatter(
            x=[item.score for item in side],
            y=[1.6] * len(side),
            mode="markers",
            marker={"color": colour, "symbol": "triangle-down", "size": 10, "line": {"width": 1, "color": "white"}},
            customdata=[[item.example.idx, in_html(item.example.label_name)] for item in side],
            hovertemplate="train #%{customdata[0]}, label %{customdata[1]}, score %{x:+.3g}<extra></extra>",
        )
    figure.update_yaxes(type="log", dtick=1)
    return figure


def document_chart(documents: Sequence[DocumentInfluence]) -> go.Figure:
    """What whole documents do, a bar each."""
    figure = new_figure(60 + 22 * len(documents), "sum of scores")
    figure.add_bar(
        x=[one.score for one in documents],
        # Paths differ at their ends.
        y=[in_html(one.name if len(one.name) <= 40 else f"…{one.name[-39:]}") for one in documents],
        orientation="h",
        marker_color=[BLUE if one.score >= 0 else ORANGE for one in documents],
        customdata=[len(one.train_idx) for one in documents],
        hovertemplate="%{y}: %{x:+.3g} by %{customdata} training examples<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


def _sign_colour(low: float, high: float) -> str:
    """Blue above zero, orange below, grey for the bin that holds zero."""
    if low < 0 < high:
        return GREY
    return BLUE if low >= 0 else ORANGE


def removal_chart(curves: list[RemovalCurve]) -> go.Figure:
    """How far the margin falls when more and more proponents of a method are removed, with 95% bands."""
    figure = new_figure(330, "training examples removed", "mean fall of the margin")
    for curve, colour in zip(curves, itertools.cycle(LINES)):
        figure.add_scatter(
            x=curve.sizes,
            y=curve.falls,
            name=in_html(curve.title),
            mode="lines+markers",
            line={"color": colour},
            error_y=interval(curve.falls, curve.lows, curve.highs, colour, thickness=1),
            customdata=curve.flipped,
            hovertemplate="%{x} removed: margin lower by %{y:.2f}, %{customdata:.0%} of answers flipped",
        )
    figure.update_layout(showlegend=True, legend=LEGEND_ABOVE)
    figure.update_xaxes(tickvals=curves[0].sizes)
    return figure


def fit_chart(fit: Fit) -> go.Figure:
    """Prediction against actual outcomes over the retrained subsets, with the least-squares line."""
    figure = new_figure(330, "predicted: sum of scores, moved to the mean", "model output after retraining")
    figure.add_scatter(
        x=fit.predicted,
        y=fit.actual,
        mode="markers",
        marker={"color": BLUE, "size": 8, "opacity": 0.75},
        hovertemplate="predicted %{x:.2f}, came true %{y:.2f}<extra></extra>",
    )
    if fit.line:
        (x0, y0), (x1, y1) = fit.line
        figure.add_scatter(x=[x0, x1], y=[y0, y1], mode="lines", line={"color": GREY, "dash": "dash"}, hoverinfo="skip")
    return figure


def checkpoints_chart(board: Board) -> go.Figure:
    """LDS against the number of checkpoints that scores are averaged over."""
    figure = new_figure(270, "checkpoints", "LDS")
    points = board.by_checkpoints
    lds, lows, highs = ([point[part] for point in points.values()] for part in range(3))
    figure.add_scatter(
        x=list(points),
        y=lds,
        mode="lines+markers",
        line={"color": BLUE},
        error_y=interval(lds, lows, highs, GREY),
        hovertemplate="%{x} checkpoints: LDS %{y:.3f}<extra></extra>",
    )
    figure.update_xaxes(type="log", tickvals=list(points), ticktext=[str(m) for m in points])
    return figure


def ridge_chart(tried: dict[float, float]) -> go.Figure:
    """LDS on the fitting subsets against the ridge; a ring marks the one that was chosen."""
    figure = new_figure(270, "ridge, relative to the mean squared gradient norm", "LDS on fitting subsets")
    best = max(tried, key=lambda ridge: tried[ridge])
    figure.add_scatter(
        x=list(tried),
        y=list(tried.values()),
        mode="lines+markers",
        line={"color": BLUE},
        hovertemplate="ridge %{x:g}: LDS %{y:.3f}<extra></extra>",
    )
    figure.add_scatter(
        x=[best],
        y=[tried[best]],
        mode="markers",
        marker={"color": ORANGE, "size": 16, "symbol": "circle-open", "line": {"width": 2}},
        hoverinfo="skip",
    )
    figure.update_xaxes(type="log", tickvals=list(tried), ticktext=[f"{ridge:g}" for ridge in tried])
    return figure


def _change_figure(height: int, x_title: str, y_title: str) -> go.Figure:
    figure = new_figure(height, x_title, y_title)
    figure.update_layout(showlegend=True, legend=LEGEND_ABOVE, bargap=0.35)
    figure.update_yaxes(zeroline=True, zerolinecolor=GREY)
    return figure


def change_chart(predicted: Prediction, verified: Verified | None) -> go.Figure:
    """The predicted change of every class as bars, and what retraining gave as points with 95% intervals."""
    titles = ("class", "change of the margin") if len(predicted.classes) > 1 else ("", "change")
    figure = _change_figure(290, *titles)
    names = [in_html(shortened(entry.name, 18)) for entry in predicted.classes]
    known = [entry for entry in predicted.classes if entry.change is not None]
    if known:
        figure.add_bar(
            x=[name for name, entry in zip(names, predicted.classes, strict=True) if entry.change is not None],
            y=[entry.change for entry in known],
            name="predicted",
            marker_color=[BLUE if (entry.change or 0) >= 0 else ORANGE for entry in known],
            marker_opacity=0.7,
            customdata=[[entry.before, entry.after] for entry in known],
            hovertemplate="%{x}: predicted %{y:+.2f}, from %{customdata[0]:.2f} to %{customdata[1]:.2f}<extra></extra>",
        )
    if verified is not None:
        classes = [entry.number for entry in predicted.classes]
        change, lows, highs = ([of[c] for c in classes] for of in (verified.change, verified.low, verified.high))
        figure.add_scatter(
            x=names,
            y=change,
            name="actual, with 95% interval",
            mode="markers",
            marker={"color": GREY, "size": 9, "symbol": "diamond", "line": {"width": 1, "color": "white"}},
            error_y=interval(change, lows, highs, GREY, thickness=2, width=6),
            customdata=list(zip(lows, highs, strict=True)),
            hovertemplate=(
                "%{x}: actual %{y:+.2f}, 95% interval %{customdata[0]:+.2f} to %{customdata[1]:+.2f}<extra></extra>"
            ),
        )
    # Class names may be digits, which an axis would take for numbers.
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=names, showticklabels=len(names) > 1)
    return figure


def history_chart(here: pd.DataFrame, elsewhere: pd.DataFrame, test_idx: int) -> go.Figure:
    """Predicted against actual change over all verified what-ifs, with the line on which they are the same.

    The rows of `history_table` are given as those of the test example that is looked at, and those of others.
    """
    figure = _change_figure(300, "predicted change", "actual change")
    here, elsewhere = (points.dropna(subset="predicted") for points in (here, elsewhere))
    for name, colour, symbol, points in (
        ("other test examples", GREY, "circle", elsewhere),
        (f"test example {test_idx}", BLUE, "diamond", here),
    ):
        if len(points):
            figure.add_scatter(
                x=points["predicted"],
                y=points["actual"],
                name=name,
                mode="markers",
                marker={"color": colour, "size": 10, "symbol": symbol},
                error_y=interval(points["actual"], points["from"], points["to"], colour, thickness=1.5),
                customdata=points[["test example", "removed"]],
                hovertemplate="test #%{customdata[0]} without %{customdata[1]}: predicted %{x:+.2f}, actual %{y:+.2f}"
                "<extra></extra>",
            )
    values = np.append(pd.concat([here, elsewhere])[["predicted", "from", "to"]].to_numpy(), 0.0)
    ends = [values.min(), values.max()]
    figure.add_scatter(
        x=ends, y=ends, name="as predicted", mode="lines", line={"color": GREY, "dash": "dash"}, hoverinfo="skip"
    )
    return figure


def before_after_chart(rows: Sequence[LabelSetRow]) -> go.Figure:
    """Mean test accuracy on each set of labels with its 95% interval, over the accuracies of single models.

    A thin line joins models that share their seed. Accuracies are in percent.
    """
    figure = new_figure(380, "labels", "test accuracy, %")
    by_seed = list(zip(*(row.found.by_seed for row in rows), strict=True))
    figure.add_scatter(
        x=[x for _ in by_seed for x in (*range(len(rows)), None)],
        y=[y for accuracies in by_seed for y in (*(100 * accuracy for accuracy in accuracies), None)],
        mode="lines+markers",
        line={"color": GREY, "width": 1},
        marker={"color": GREY, "size": 5},
        opacity=0.45,
        hovertemplate="one model: %{y:.1f}%<extra></extra>",
    )
    for place, (row, colour) in enumerate(zip(rows, (GREY, BLUE, LINES[1]), strict=False)):
        accuracy = row.found.accuracy
        mean, low, high = 100 * accuracy.mean, 100 * accuracy.low, 100 * accuracy.high
        figure.add_scatter(
            x=[place],
            y=[mean],
            mode="markers",
            marker={"color": colour, "size": 13, "symbol": "diamond", "line": {"width": 1, "color": "white"}},
            error_y=interval([mean], [low], [high], colour, thickness=2.5, width=9),
            customdata=[[low, high, row.n_relabelled, row.n_left_out]],
            hovertemplate=(
                f"{row.title}: %{{y:.1f}}%, 95% interval %{{customdata[0]:.1f}} to %{{customdata[1]:.1f}}; "
                "%{customdata[2]} relabelled, %{customdata[3]} removed<extra></extra>"
            ),
        )
    figure.update_xaxes(
        tickvals=list(range(len(rows))),
        ticktext=[row.title for row in rows],
        range=[-0.5, len(rows) - 0.5],
        showgrid=False,
    )
    return figure


def group_chart(names: list[str], values: list[float], unit: str) -> go.Figure:
    """What a group of train examples does to an average test example of each class."""
    figure = new_figure(60 + 26 * len(names), unit)
    figure.add_bar(
        x=values,
        y=[in_html(name) for name in names],
        orientation="h",
        marker_color=[BLUE if value > 0 else ORANGE for value in values],
        text=[f"{value:+.2g}" for value in values],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="test examples of %{y}: %{x:+.3g}<extra></extra>",
    )
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.2 * ((high - low) or 1.0)  # for the numbers beside the bars
    figure.update_layout(bargap=0.25)
    figure.update_xaxes(range=[low - room if low else 0, high + room if high else 0])
    figure.update_yaxes(type="category", autorange="reversed")
    return figure
