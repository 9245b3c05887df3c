"""A map of many points: one canvas that is looked at, zoomed, moved, and picked from with a line, a click or keys.

Three messages make a map: where points lie, what colour they have, and what is picked. Each is sent as packed numbers
and again only when it has changed; picking sends a few kilobytes, however many points there are. A line goes to the
server as it was drawn, in the coordinates of the points, and the server decides who lies inside.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from numpy.typing import NDArray

from pages.components.assets import asset
from pages.components.charts import class_colour, new_figure
from pages.components.text import in_html
from trak_core.views.map import NO_STEP, STEPS, Colouring, MapPoints

_CARRIER = st.components.v2.component(
    "scatter_carrier", html="<span></span>", js=asset("elements.js", "scatter_carrier.js")
)
_SCATTER = st.components.v2.component(
    "scatter",
    html=asset("scatter.html"),
    css=asset("scatter.css"),
    js=asset(
        "elements.js", "scatter_view.js", "scatter_paint.js", "scatter_words.js", "scatter_input.js", "scatter.js"
    ),
)
_SIGNED = ("#a64a06", "#d97a2b", "#a3a6a6", "#3d7fc4", "#1f5fa8")
_RISING = ("#8fa1ab", "#c9a25a", "#d0566f", "#d12c78")
"""Neither end is blue or orange: a loss neither helps nor hurts."""
_MISSING = "#8a949c66"
_VERDICTS = ("#4c9a6b", "#d97a2b", "#c4566f", "#b8973a", "#8a949c66")


def palette(colours: Colouring) -> list[str]:
    """One CSS colour a code."""
    if colours.values is not None:
        ramp = _ramp(_SIGNED if colours.is_signed else _RISING, STEPS)
        return [*ramp, *[_MISSING] * (NO_STEP + 1 - len(ramp))]
    if colours.by == "verdict":
        return list(_VERDICTS)
    return [class_colour(label) for label in range(len(colours.names))]


def _ramp(stops: Sequence[str], n: int) -> list[str]:
    channels = np.array([[int(stop[at : at + 2], 16) for at in (1, 3, 5)] for stop in stops])
    at = np.linspace(0, len(stops) - 1, n)
    mixed = np.stack([np.interp(at, np.arange(len(stops)), channel) for channel in channels.T], axis=1)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in mixed.round().astype(int)]


def map_figure(points: MapPoints, colours: Colouring) -> go.Figure:
    """The map as a figure that stands by itself: circles are train examples, triangles test examples."""
    figure, colour = new_figure(620), palette(colours)
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
    figure.update_layout(showlegend=True)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure


def scatter(
    points: MapPoints,
    colours: Colouring,
    class_names: Sequence[str],
    *,
    key: str,
    label: str,
    picked: Sequence[int],
    chosen: int,
    on_lasso: Callable[[list[list[float]], bool], None],
    on_pick: Callable[[int], None],
    on_clear: Callable[[], None],
) -> None:
    """Shows the map.

    Args:
        points: where they lie.
        colours: one for each.
        class_names: names of the labels, for what the pointer says.
        key: of the component.
        label: what the map is, for screen readers.
        picked: numbers of the points that are picked.
        chosen: number of a point to mark.
        on_lasso: called with the corners of a line and whether what it holds is added to what is picked.
        on_pick: called with the number of a point that was clicked.
        on_clear: called when Escape was pressed.
    """

    def lassoed() -> None:
        if (line := st.session_state[key].lasso) is not None:
            on_lasso(line["polygon"], bool(line["add"]))

    def clicked() -> None:
        if (point := st.session_state[key].pick) is not None:
            on_pick(int(point))

    with st.container(gap=None):
        for part, message in (("points", _points_message(points, class_names)), ("colours", _colours_message(colours))):
            _CARRIER(key=f"{key} {part}", data={"name": f"{key} {part}", "for": key, **message})
        _SCATTER(
            key=key,
            data={
                "name": key,
                "label": label,
                "picked": _packed(np.asarray(picked, dtype=np.uint32)),
                "chosen": chosen,
            },
            on_lasso_change=lassoed,
            on_pick_change=clicked,
            on_clear_change=on_clear,
        )


def _points_message(points: MapPoints, class_names: Sequence[str]) -> dict[str, Any]:
    return {
        "xy": _packed(points.xy.astype("<f4")),
        "labels": _packed(points.labels.astype("<u2")),
        "n_train": points.n_train,
        "class_names": list(class_names),
    }


def _colours_message(colours: Colouring) -> dict[str, Any]:
    return {
        "by": colours.by,
        "codes": _packed(colours.codes.astype("<u2")),
        "palette": palette(colours),
        "names": list(colours.names),
        "values": None if colours.values is None else _packed(colours.values.astype("<f4")),
        "ends": [f"{end:.3g}" for end in colours.ends],
    }


def _packed(numbers: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()
