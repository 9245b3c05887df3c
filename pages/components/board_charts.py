"""The figures of the board: LDS of every method, and of every test example, beside LDS at fixed class counts."""

from collections.abc import Sequence

import plotly.graph_objects as go

from pages.components.charts import BLUE, GREY, LEGEND_ABOVE, LINES, ORANGE, interval, new_figure
from pages.components.text import in_html
from trak_core.views.evidence import Board, BoardRow

_COLOURS = {"method": BLUE, "judged here": LINES[2], "baseline": GREY, "control": LINES[1]}
_PLAIN, _FIXED = "LDS", "LDS at fixed class counts"
_HOLLOW = {"color": "rgba(0, 0, 0, 0)"}


def methods_chart(board: Board) -> go.Figure:
    """LDS of every method with its interval, the same at fixed class counts, and the noise ceiling."""
    rows = [row for row in board.rows_by_kind if row.lds is not None]
    has_fixed = any(row.fixed is not None for row in rows)
    a_row = (44 if len(rows) < 8 else 27) + (6 if has_fixed else 0)
    figure = new_figure(90 + a_row * len(rows), "LDS", "")
    colours = [_COLOURS[row.kind] for row in rows]
    figure.add_scatter(
        x=[row.lds for row in rows],
        y=[_name(row) for row in rows],
        name=_PLAIN,
        mode="markers",
        marker={"size": 12 if len(rows) < 8 else 10, "color": colours},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [row.above for row in rows],
            "arrayminus": [row.below for row in rows],
            "color": GREY,
            "thickness": 2,
        },
        customdata=[[row.ci_low, row.ci_high, _cost(row)] for row in rows],
        hovertemplate=(
            "%{y}: LDS %{x:.3f}, 95% interval %{customdata[0]:.3f} to %{customdata[1]:.3f}%{customdata[2]}"
            "<extra></extra>"
        ),
    )
    if has_fixed:
        _add_fixed(figure, [row for row in rows if row.fixed is not None])
    if board.noise_ceiling:
        figure.add_vline(
            x=board.noise_ceiling,
            line={"dash": "dash", "color": GREY},
            annotation={"text": f"noise ceiling {board.noise_ceiling:.2f}", "xanchor": "right", "yanchor": "bottom"},
        )
        figure.update_layout(margin_t=30)
    if has_fixed:
        figure.update_layout(showlegend=True, legend={**LEGEND_ABOVE, "y": 1.0, "yref": "container", "yanchor": "top"})
        figure.update_layout(margin_t=64)
    figure.update_yaxes(autorange="reversed")  # best at the top, and the legend in the colour of the first
    lowest = min([0.0, *(row.ci_low or 0.0 for row in rows), *(row.fixed_low or 0.0 for row in rows)])
    figure.update_xaxes(range=[min(-0.1, lowest - 0.05), 1.05])
    return figure


def _add_fixed(figure: go.Figure, rows: list[BoardRow]) -> None:
    """Open diamonds for LDS at fixed class counts."""
    values = [row.fixed or 0.0 for row in rows]
    lows, highs = ([getattr(row, end) or 0.0 for row in rows] for end in ("fixed_low", "fixed_high"))
    figure.add_scatter(
        x=values,
        y=[_name(row) for row in rows],
        name=_FIXED,
        mode="markers",
        marker={
            "size": 10,
            "symbol": "diamond-open",
            "color": [_COLOURS[row.kind] for row in rows],
            "line": {"width": 2},
        },
        error_x=interval(values, lows, highs, GREY, thickness=1, width=3),
        customdata=list(zip(lows, highs, strict=True)),
        hovertemplate=(
            "%{y}, at fixed class counts: LDS %{x:.3f}, 95% interval %{customdata[0]:.3f} to %{customdata[1]:.3f}"
            "<extra></extra>"
        ),
    )


def _name(row: BoardRow) -> str:
    kind = f" ({row.kind})" if row.kind in ("control", "judged here") else ""
    return in_html(f"{row.title}{kind}")


def _cost(row: BoardRow) -> str:
    return "" if row.seconds is None else f", {row.seconds:.1f} CPU s"


def lds_histogram(values: Sequence[float], fixed: Sequence[float], chosen: float | None) -> go.Figure:
    """LDS of every test example, and the same at fixed class counts where there is any; a line marks the chosen one."""
    figure = new_figure(270, "LDS of a test example", "test examples")
    for name, shown, colour in ((_PLAIN, values, BLUE), (_FIXED, fixed, LINES[1])):
        if len(shown):
            figure.add_histogram(
                x=shown,
                name=name,
                xbins={"start": -1, "end": 1, "size": 0.05},
                marker={"color": colour} if name == _PLAIN else {**_HOLLOW, "line": {"color": colour, "width": 2}},
                hovertemplate=f"%{{y}} test examples with {name} %{{x}}<extra></extra>",
            )
    figure.update_layout(barmode="overlay")
    if chosen is not None:
        figure.add_vline(
            x=chosen, line={"color": ORANGE, "width": 2}, annotation={"text": "chosen", "yanchor": "bottom"}
        )
        figure.update_layout(margin_t=30)
    if len(fixed):
        figure.update_layout(showlegend=True, margin_t=64)
        figure.update_layout(legend={**LEGEND_ABOVE, "y": 1.0, "yref": "container", "yanchor": "top"})
    return figure
