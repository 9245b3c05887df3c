"""The figures of the what-if panel: predicted beside actual, class by class and over the whole history."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from pages.components.colours import BLUE, GREY, ORANGE
from pages.components.text import in_html, shortened
from trak_core.store.what_ifs import Verified
from trak_core.views.what_if import Prediction

_HOVER = "test #%{customdata[0]} without %{customdata[1]}: predicted %{x:+.2f}, actual %{y:+.2f}<extra></extra>"


def _figure(height: int, x_title: str, y_title: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        showlegend=True,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={"title": x_title, "zeroline": False},
        yaxis={"title": y_title, "zeroline": True, "zerolinecolor": GREY},
        bargap=0.35,
    )
    return figure


def change_chart(predicted: Prediction, verified: Verified | None) -> go.Figure:
    """The predicted change of every class as bars, and what retraining gave as points with 95% intervals."""
    figure = _figure(290, "class", "change of the margin") if len(predicted.classes) > 1 else _figure(290, "", "change")
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
        change = [verified.change[c] for c in classes]
        figure.add_scatter(
            x=names,
            y=change,
            name="actual, with 95% interval",
            mode="markers",
            marker={"color": GREY, "size": 9, "symbol": "diamond", "line": {"width": 1, "color": "white"}},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [verified.high[c] - value for c, value in zip(classes, change, strict=True)],
                "arrayminus": [value - verified.low[c] for c, value in zip(classes, change, strict=True)],
                "color": GREY,
                "thickness": 2,
                "width": 6,
            },
            customdata=[[verified.low[c], verified.high[c]] for c in classes],
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
    figure = _figure(300, "predicted change", "actual change")
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
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": points["to"] - points["actual"],
                    "arrayminus": points["actual"] - points["from"],
                    "color": colour,
                    "thickness": 1.5,
                },
                customdata=points[["test example", "removed"]],
                hovertemplate=_HOVER,
            )
    values = np.append(pd.concat([here, elsewhere])[["predicted", "from", "to"]].to_numpy(), 0.0)
    ends = [values.min(), values.max()]
    figure.add_scatter(
        x=ends, y=ends, name="as predicted", mode="lines", line={"color": GREY, "dash": "dash"}, hoverinfo="skip"
    )
    return figure
