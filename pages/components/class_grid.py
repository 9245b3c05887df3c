"""A grid of classes by classes, each cell a real button; a cell that is clicked is opened below it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from pages.components.assets import asset
from pages.components.charts import BLUE, DIVERGING, ORANGE, new_figure
from pages.components.text import in_html
from trak_core.views.groups import ClassMatrix

_GRID = st.components.v2.component(
    "class_grid",
    html='<div class="scroll"></div>',
    css=asset("class_grid.css"),
    js=asset("elements.js", "class_grid.js"),
)


def class_grid(matrix: ClassMatrix, opened: tuple[int, int], *, key: str, on_open: Callable[[int, int], None]) -> None:
    """Shows the matrix, with the cell marked that is opened (training class, test class); a click opens another one."""

    def chosen() -> None:
        cell = st.session_state[key].opened
        if cell is not None:
            on_open(int(matrix.rows[cell[0]]), int(matrix.columns[cell[1]]))

    strongest = float(np.abs(matrix.values).max()) or 1.0
    rows, columns = matrix.rows.tolist(), matrix.columns.tolist()
    _GRID(
        key=key,
        data={
            "rows": [matrix.names[label] for label in rows],
            "columns": [matrix.names[label] for label in columns],
            "cells": [[_cell(float(value), strongest) for value in row] for row in matrix.values],
            "open": [rows.index(opened[0]), columns.index(opened[1])],
        },
        on_opened_change=chosen,
    )


def matrix_figure(matrix: ClassMatrix) -> go.Figure:
    """The class by class matrix as a heat map."""
    end = float(np.abs(matrix.values).max()) or 1.0
    figure = new_figure(120 + 30 * len(matrix.rows))
    figure.add_heatmap(
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
    figure.update_yaxes(autorange="reversed")
    return figure


def _cell(value: float, strongest: float) -> dict[str, Any]:
    """Its number with a sign, and a colour that is deeper the stronger it is; the root keeps weak cells visible."""
    share = round(75 * (abs(value) / strongest) ** 0.5)
    decimals = int(np.clip(2 - np.floor(np.log10(strongest)), 0, 6))
    return {
        "text": f"{value:+.{decimals}f}" if round(value, decimals) else "0",
        "colour": f"color-mix(in srgb, {BLUE if value > 0 else ORANGE} {share}%, transparent)",
    }
