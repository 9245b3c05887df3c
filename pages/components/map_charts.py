"""Figures of the Map page: those that travel with the view, and the bars of what a group does."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pages.components.colours import BLUE, DIVERGING, ORANGE
from pages.components.scatter import palette
from pages.components.text import in_html
from trak_core.views.groups import ClassMatrix
from trak_core.views.map import STEPS, Colouring, MapPoints

_MARGIN = {"l": 10, "r": 10, "t": 10, "b": 10}


def map_figure(points: MapPoints, colours: Colouring) -> go.Figure:
    """The map as a figure that stands by itself: circles are train examples, triangles test examples."""
    figure, colour = go.Figure(), palette(colours)
    is_train = np.arange(len(points.labels)) < points.n_train
    groups: list[tuple[str, NDArray[np.bool_], str | None]]
    groups = [(name, colours.codes == code, colour[code]) for code, name in enumerate(colours.names)]
    if colours.values is not None:
        groups = [("", np.ones(len(is_train), dtype=bool), None)]
    for name, members, of_group in groups:
        for split, of_split, symbol in (("train", is_train, "circle"), ("test", ~is_train, "triangle-up")):
            chosen = np.flatnonzero(members & of_split)
            if not len(chosen):
                continue
            marker: dict[str, Any] = {"symbol": symbol, "size": 5, "color": of_group}
            if of_group is None:
                scale = [[k / (STEPS - 1), colour[k]] for k in range(0, STEPS, 2)]
                marker |= {"color": colours.codes[chosen], "colorscale": scale, "cmin": 0, "cmax": STEPS - 1}
            figure.add_scattergl(
                x=points.xy[chosen, 0],
                y=points.xy[chosen, 1],
                mode="markers",
                marker=marker,
                name=in_html(f"{name} {split}".strip()),
                text=chosen - (0 if split == "train" else points.n_train),
                hovertemplate=f"{split} example %{{text}}<extra></extra>",
            )
    figure.update_layout(height=620, margin=_MARGIN, xaxis={"visible": False}, yaxis={"visible": False})
    figure.update_yaxes(scaleanchor="x")
    return figure


def matrix_figure(matrix: ClassMatrix) -> go.Figure:
    """The class by class matrix as a heat map."""
    end = float(np.abs(matrix.values).max()) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=np.sign(matrix.values) * np.sqrt(np.abs(matrix.values) / end),
            x=[in_html(f"test {matrix.names[label]}") for label in matrix.columns],
            y=[in_html(f"train {matrix.names[label]}") for label in matrix.rows],
            text=[[f"{value:+.2g}" for value in row] for row in matrix.values],
            texttemplate="%{text}",
            hovertemplate="%{y} for %{x}: %{text}<extra></extra>",
            colorscale=DIVERGING,
            zmin=-1,
            zmax=1,
            showscale=False,
        )
    )
    figure.update_layout(height=120 + 30 * len(matrix.rows), margin=_MARGIN)
    figure.update_yaxes(autorange="reversed")
    return figure


def group_chart(names: list[str], values: list[float], unit: str) -> go.Figure:
    """What a group of train examples does to an average test example of each class."""
    figure = go.Figure(
        go.Bar(
            x=values,
            y=[in_html(name) for name in names],
            orientation="h",
            marker_color=[BLUE if value > 0 else ORANGE for value in values],
            text=[f"{value:+.2g}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="test examples of %{y}: %{x:+.3g}<extra></extra>",
        )
    )
    figure.update_layout(height=60 + 26 * len(names), margin=_MARGIN, xaxis={"title": unit}, bargap=0.25)
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.2 * ((high - low) or 1.0)  # for the numbers beside the bars
    figure.update_xaxes(range=[low - room if low else 0, high + room if high else 0])
    figure.update_yaxes(type="category", autorange="reversed")
    return figure
