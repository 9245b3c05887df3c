"""The figures of the pages. Colours: blue helps, orange hurts, on every page."""

import itertools
from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st

from pages.components.colours import BLUE, GREY, LINES, ORANGE
from pages.components.text import in_html
from pages.components.view import Figure, note
from trak_core.views.evidence import Board, Fit, RemovalCurve
from trak_core.views.explanation import Explanation

_CONFIG = {"displaylogo": False, "modeBarButtons": [["toImage"]], "toImageButtonOptions": {"scale": 2}}


def show(figure: go.Figure, key: str, alt: str) -> None:
    """Puts a figure on the page, with a button that saves it as PNG."""
    note(key, Figure(alt, figure))
    st.plotly_chart(figure, key=key, config=_CONFIG, alt=alt)


def _figure(height: int, x_title: str, y_title: str) -> go.Figure:
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


def score_histogram(explanation: Explanation) -> go.Figure:
    """All scores of an explanation; triangles mark the train examples that are shown."""
    edges, counts = explanation.bin_edges, explanation.bin_counts
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    figure = _figure(260, _unit(explanation), "training examples")
    figure.add_bar(
        x=middles,
        y=counts,
        width=edges[1] - edges[0],
        marker_color=[_sign_colour(low, high) for low, high in itertools.pairwise(edges)],
        marker_opacity=0.75,
        hovertemplate="%{y} training examples near %{x:.3g}<extra></extra>",
    )
    for side, colour, symbol in (
        (explanation.proponents, BLUE, "triangle-down"),
        (explanation.opponents, ORANGE, "triangle-down"),
    ):
        figure.add_scatter(
            x=[item.score for item in side],
            y=[1.6] * len(side),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 10, "line": {"width": 1, "color": "white"}},
            customdata=[[item.example.idx, in_html(item.example.label_name)] for item in side],
            hovertemplate="train #%{customdata[0]}, label %{customdata[1]}, score %{x:+.3g}<extra></extra>",
        )
    figure.update_yaxes(type="log", dtick=1)
    return figure


def _unit(explanation: Explanation) -> str:
    return "score (change of the model output)" if explanation.in_model_units else "score (no unit)"


def _sign_colour(low: float, high: float) -> str:
    """Blue above zero, orange below, grey for the bin that holds zero."""
    if low < 0 < high:
        return GREY
    return BLUE if low >= 0 else ORANGE


def methods_chart(board: Board) -> go.Figure:
    """LDS of every method with its interval, and the noise ceiling."""
    rows = [row for row in reversed(board.rows) if row.lds is not None]
    figure = _figure(90 + (44 if len(rows) < 8 else 27) * len(rows), "LDS", "")
    figure.add_scatter(
        x=[row.lds for row in rows],
        y=[in_html(row.title) for row in rows],
        mode="markers",
        marker={"size": 12 if len(rows) < 8 else 10, "color": [GREY if row.is_baseline else BLUE for row in rows]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [row.above for row in rows],
            "arrayminus": [row.below for row in rows],
            "color": GREY,
            "thickness": 2,
        },
        customdata=[[row.ci_low, row.ci_high, row.seconds] for row in rows],
        hovertemplate=(
            "%{y}: LDS %{x:.3f}, 95% interval %{customdata[0]:.3f} to %{customdata[1]:.3f}, "
            "%{customdata[2]:.1f} CPU s<extra></extra>"
        ),
    )
    if board.noise_ceiling:
        figure.add_vline(
            x=board.noise_ceiling,
            line={"dash": "dash", "color": GREY},
            annotation={
                "text": f"noise ceiling {board.noise_ceiling:.2f}",
                "xanchor": "right",
                "yanchor": "bottom",
            },
        )
        figure.update_layout(margin_t=30)
    figure.update_xaxes(range=[-0.1, 1.05])
    return figure


def removal_chart(curves: list[RemovalCurve]) -> go.Figure:
    """How far the margin falls when more and more proponents of a method are removed, with 95% bands."""
    figure = _figure(330, "training examples removed", "mean fall of the margin")
    for curve, colour in zip(curves, itertools.cycle(LINES)):
        figure.add_scatter(
            x=curve.sizes,
            y=curve.falls,
            name=in_html(curve.title),
            mode="lines+markers",
            line={"color": colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [high - fall for fall, high in zip(curve.falls, curve.highs, strict=True)],
                "arrayminus": [fall - low for fall, low in zip(curve.falls, curve.lows, strict=True)],
                "color": colour,
                "thickness": 1,
            },
            customdata=curve.flipped,
            hovertemplate="%{x} removed: margin lower by %{y:.2f}, %{customdata:.0%} of answers flipped",
        )
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    figure.update_xaxes(tickvals=curves[0].sizes)
    return figure


def lds_histogram(values: Sequence[float], chosen: float | None) -> go.Figure:
    """LDS of every test example; a line marks the chosen one."""
    figure = _figure(270, "LDS of a test example", "test examples")
    figure.add_histogram(
        x=values,
        xbins={"start": -1, "end": 1, "size": 0.05},
        marker_color=BLUE,
        hovertemplate="%{y} test examples with LDS %{x}<extra></extra>",
    )
    if chosen is not None:
        figure.add_vline(
            x=chosen, line={"color": ORANGE, "width": 2}, annotation={"text": "chosen", "yanchor": "bottom"}
        )
        figure.update_layout(margin_t=30)
    return figure


def fit_chart(fit: Fit) -> go.Figure:
    """Prediction against actual outcomes over the retrained subsets, with the least-squares line."""
    figure = _figure(330, "predicted: sum of scores, moved to the mean margin", "margin after retraining")
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
    figure = _figure(270, "checkpoints", "LDS")
    points = board.by_checkpoints
    figure.add_scatter(
        x=list(points),
        y=[lds for lds, _, _ in points.values()],
        mode="lines+markers",
        line={"color": BLUE},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [high - lds for lds, _, high in points.values()],
            "arrayminus": [lds - low for lds, low, _ in points.values()],
            "color": GREY,
        },
        hovertemplate="%{x} checkpoints: LDS %{y:.3f}<extra></extra>",
    )
    figure.update_xaxes(type="log", tickvals=list(points), ticktext=[str(m) for m in points])
    return figure


def ridge_chart(tried: dict[float, float]) -> go.Figure:
    """LDS on the fitting subsets against the ridge; a ring marks the one that was chosen."""
    figure = _figure(270, "ridge, relative to the mean squared gradient norm", "LDS on fitting subsets")
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
