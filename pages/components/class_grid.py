"""A grid of classes by classes, each cell a real button; a cell that is clicked is opened below it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from pages.components.colours import BLUE, ORANGE
from trak_core.views import ClassMatrix

__all__ = ["class_grid"]

_CSS = """
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: 1px; font-family: var(--st-font); font-size: 0.72rem; width: 100%;
  color: var(--st-text-color); table-layout: fixed; }
th { font-weight: 600; text-align: center; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  padding: 1px; }
/* In narrow columns the beginnings of names say little: there they are written upwards. */
.many th[scope="col"] { writing-mode: vertical-rl; rotate: 180deg; max-height: 96px; text-align: left; padding: 2px; }
th.row { text-align: right; padding-right: 5px; width: 66px; }
td { padding: 0; }
button { all: unset; box-sizing: border-box; cursor: pointer; width: 100%; height: 26px; text-align: center;
  border-radius: 3px; font-variant-numeric: tabular-nums; border: 1px solid transparent; overflow: hidden;
  color: var(--st-text-color); }
button:hover { border-color: var(--st-primary-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
button[aria-pressed="true"] { border: 2px solid var(--st-text-color); font-weight: 700; }
"""

_JS = """
export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".scroll")
  const table = document.createElement("table")
  if (data.columns.length > 10 && data.columns.some((name) => name.length > 4)) table.className = "many"
  table.style.minWidth = 66 + 34 * data.columns.length + "px"
  const head = table.createTHead().insertRow(), corner = document.createElement("th"), body = table.createTBody()
  corner.className = "row"
  corner.textContent = "train↓ test→"
  head.append(corner)
  for (const name of data.columns) {
    const cell = document.createElement("th")
    cell.scope = "col"
    cell.textContent = cell.title = name
    head.append(cell)
  }
  const buttons = []
  data.rows.forEach((name, r) => {
    const row = body.insertRow(), title = document.createElement("th")
    title.scope = "row"
    title.className = "row"
    title.textContent = title.title = name
    row.append(title)
    buttons.push(data.columns.map((column, c) => {
      const cell = data.cells[r][c], button = document.createElement("button")
      const is_open = r === data.open[0] && c === data.open[1]
      button.type = "button"
      button.textContent = cell.text
      button.title = button.ariaLabel = `training class ${name}, test class ${column}: ${cell.text}`
      button.setAttribute("aria-pressed", String(is_open))
      button.tabIndex = is_open ? 0 : -1
      button.style.background = cell.colour
      button.onclick = () => setTriggerValue("opened", [r, c])
      row.insertCell().append(button)
      return button
    }))
  })
  root.onkeydown = (event) => {
    const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key]
    if (!way) return
    const r = buttons.findIndex((row) => row.includes(event.target))
    const next = r < 0 ? null : buttons[r + way[0]]?.[buttons[r].indexOf(event.target) + way[1]]
    if (!next) return
    event.preventDefault()
    event.target.tabIndex = -1
    next.tabIndex = 0
    next.focus()
  }
  root.replaceChildren(table)
}
"""
_GRID = st.components.v2.component("class_grid", html='<div class="scroll"></div>', css=_CSS, js=_JS)


def class_grid(matrix: ClassMatrix, opened: tuple[int, int], *, key: str, on_open: Callable[[int, int], None]) -> None:
    """Shows the matrix.

    Args:
        matrix: rows are training classes, columns are test classes.
        opened: training class and test class of the cell to mark.
        key: of the component.
        on_open: called with the training class and the test class of a cell that was clicked.
    """

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


def _cell(value: float, strongest: float) -> dict[str, Any]:
    """Its number with a sign, and a colour that is deeper the stronger it is; the root keeps weak cells visible."""
    share = round(75 * (abs(value) / strongest) ** 0.5)
    decimals = int(np.clip(2 - np.floor(np.log10(strongest)), 0, 6))
    return {
        "text": f"{value:+.{decimals}f}" if round(value, decimals) else "0",
        "colour": f"color-mix(in srgb, {BLUE if value > 0 else ORANGE} {share}%, transparent)",
    }
