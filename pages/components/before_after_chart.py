"""The figure of the before-and-after panel: test accuracy on each set of labels, a line for each seed."""

from collections.abc import Sequence

import plotly.graph_objects as go

from pages.components.colours import BLUE, GREY, LINES
from trak_core.views.retraining import LabelSetRow

_COLOURS = (GREY, BLUE, LINES[1])


def before_after_chart(rows: Sequence[LabelSetRow]) -> go.Figure:
    """Mean test accuracy on each set of labels with its 95% interval, over the accuracies of single models.

    A thin line joins models that share their seed. Accuracies are in percent.
    """
    figure = go.Figure()
    titles = [row.title for row in rows]
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
    for place, (row, colour) in enumerate(zip(rows, _COLOURS, strict=False)):
        accuracy = row.found.accuracy
        figure.add_scatter(
            x=[place],
            y=[100 * accuracy.mean],
            mode="markers",
            marker={"color": colour, "size": 13, "symbol": "diamond", "line": {"width": 1, "color": "white"}},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [100 * (accuracy.high - accuracy.mean)],
                "arrayminus": [100 * (accuracy.mean - accuracy.low)],
                "color": colour,
                "thickness": 2.5,
                "width": 9,
            },
            customdata=[[100 * accuracy.low, 100 * accuracy.high, row.n_relabelled, row.n_left_out]],
            hovertemplate=(
                f"{row.title}: %{{y:.1f}}%, 95% interval %{{customdata[0]:.1f}} to %{{customdata[1]:.1f}}; "
                "%{customdata[2]} relabelled, %{customdata[3]} left out<extra></extra>"
            ),
        )
    figure.update_layout(
        height=380,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        showlegend=False,
        xaxis={"tickvals": list(range(len(rows))), "ticktext": titles, "range": [-0.5, len(rows) - 0.5]},
        yaxis={"title": "test accuracy, %", "zeroline": False},
    )
    figure.update_xaxes(title="labels", zeroline=False, showgrid=False)
    return figure
