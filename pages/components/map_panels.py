"""The parts of the Map page: choosing colours, the map, the picked, and classes by classes."""

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import streamlit as st

from pages.components.address import go_to_test, leave_out, put_right
from pages.components.charts import show
from pages.components.class_grid import class_grid
from pages.components.gallery import MAX_ITEMS, GalleryItem, gallery
from pages.components.map_charts import group_chart, map_figure, matrix_figure
from pages.components.map_data import influence_of, matrix_of
from pages.components.pages import TRAIN
from pages.components.pairs import pair_gallery
from pages.components.picks import clear_picks, pick_many, replace_picks, toggle_pick
from pages.components.runs import builds, is_busy, refresh_when_published, test_overview
from pages.components.scatter import scatter
from pages.components.text import plain
from pages.components.view import Figure, Words, note
from trak_core.store.run import Run
from trak_core.views.examples import read_examples, shows_texts
from trak_core.views.groups import ClassMatrix, cell_pairs, group_influence, strongest_cell
from trak_core.views.map import Colour, Colouring, MapPoints, answer_scores, points_inside

MANY_CLASSES = 25
_COLOUR_HELP = (
    "class: the label. prediction: the model's answer. loss: how hard the model finds it. self-influence: how much a "
    "training example speaks for itself. verdict: of the label review. score: what each training example does to the "
    "answer of the chosen test example; blue helps, orange hurts."
)
_PER = {"all together": "together", "one by one": "example"}


def say(key: str, sentence: str) -> None:
    """A sentence on the page and in the file that is taken away."""
    st.text(sentence)
    note(key, Words(sentence))


def choose_colour(options: Sequence[Colour]) -> Colour:
    """What points are coloured by; it is part of the address."""
    asked = st.query_params.get("colour")
    if asked is not None and asked not in options:
        put_right("colour", f"Points cannot be coloured by “{plain(asked)}” here; this is “{plain(options[0])}”.")
    if st.session_state.get("colour") not in options:
        st.session_state.pop("colour", None)
    return st.selectbox("Colour by", options, key="colour", bind="query-params", help=_COLOUR_HELP)


def no_map(run: Run) -> None:
    """What stands in place of the map while there is none, and the way to it."""
    with st.container(border=True):
        if not run.info.provenance.get("complete"):
            st.markdown("**The map is not drawn yet**")
            st.write("The build of this run draws it as its last step; nothing needs to be reloaded.")
            return
        if not run.info.proj_dim:
            st.markdown("**This run has no map**")
            st.write("A map is drawn from what each example teaches the model, and this run holds scores alone.")
            return
        st.markdown("**This run has no map yet**")
        st.write("It is drawn from the features in the store, in seconds to minutes, by the button or by this command:")
        st.code(f"python -m trak_core map {run.info.name}", language=None)
        if problem := builds().failure(run.path):
            st.error(f"It could not be drawn: {plain(problem)}", icon=":material/error:")
        busy = is_busy(run)
        st.button(
            "Being drawn …" if busy else "Draw the map",
            icon=":material/scatter_plot:",
            on_click=builds().start_build,
            args=(run.path, ["map", run.info.name]),
            disabled=busy,
            type="primary",
        )
    refresh_when_published(run)


def map_panel(run: Run, points: MapPoints, colours: Colouring, picks: list[int], test_idx: int) -> None:
    """The map itself."""

    def lassoed(polygon: list[list[float]], add: bool) -> None:
        inside = points_inside(points.xy, polygon)
        train_idx = inside[inside < points.n_train].tolist()
        (pick_many if add else replace_picks)(train_idx)

    def clicked(point: int) -> None:
        if point < points.n_train:
            toggle_pick(point)
        else:
            go_to_test(point - points.n_train)

    note("map", Figure(f"Map coloured by {colours.by}", map_figure(points, colours)))
    scatter(
        points,
        colours,
        run.info.class_names,
        key="map",
        label=f"Map of {points.n_train:,} training and {run.info.n_test:,} test examples coloured by {colours.by}; "
        f"{len(picks):,} picked. Arrow keys move from point to point, Enter picks, plus and minus zoom, Escape clears.",
        picked=picks,
        chosen=points.n_train + test_idx,
        on_lasso=lassoed,
        on_pick=clicked,
        on_clear=clear_picks,
    )
    st.caption(
        "Lasso, or drag with Shift: picks the training examples inside; with Ctrl it adds them. A click picks one "
        "training example, or chooses a test example (ringed). The wheel zooms, dragging moves."
        + (" With so few examples this is PCA, not UMAP." if points.kind == "PCA" else "")
    )


def picked_panel(run: Run, picks: list[int], test_idx: int, method: str) -> None:
    """The picked, and what they do together to classes and to the chosen test example."""
    if not picks:
        st.markdown("**Pick a group**")
        st.caption("Draw a line around some points: this shows who they are and what they do together.")
        return
    shown, effect = st.columns([1, 1])
    with shown:
        st.markdown(f"**{len(picks):,} training example{'s' if len(picks) > 1 else ''} picked**")
        n_pages = -(-len(picks) // MAX_ITEMS)
        page = st.session_state.get("picked_page", 1) if n_pages > 1 else 1
        start = MAX_ITEMS * (min(page, n_pages) - 1)
        on_page = picks[start : start + MAX_ITEMS]
        looked_at = st.session_state.get("looked at on the map")
        roomy = len(on_page) <= (5 if shows_texts(run) else 20)
        with st.container(height="content" if roomy else 420, border=False):
            gallery(
                f"{len(on_page)} of {len(picks)} picked training examples",
                [
                    GalleryItem(
                        example,
                        f"picked train example {example.idx}, label {example.label_name}",
                        caption=example.label_name,
                    )
                    for example in read_examples(run, "train", on_page)
                ],
                key="picked_gallery",
                on_pick=_look_at,
                selected=looked_at,
                size=40,
            )
        if looked_at in picks:
            st.page_link(
                TRAIN,
                label=f"Open training example {looked_at}",
                icon=":material/arrow_forward:",
                query_params={"run": run.info.name, "train": str(looked_at)},
            )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{len(on_page)} of {len(picks):,} shown")
            if n_pages > 1:
                st.pagination(n_pages, key="picked_page")
            st.button("Clear", icon=":material/close:", on_click=clear_picks, key="clear_group")
    with effect:
        _effect(run, picks, test_idx, method)


def _effect(run: Run, picks: list[int], test_idx: int, method: str) -> None:
    influence = influence_of(run, method)
    sums = group_influence(influence, picks)
    st.markdown(
        "**What they do together**",
        help="Scores of the picked training examples, added up, for the label of each test example; then the mean over "
        "the test examples of a class. Sums predict what happens without them as well as the scores do: see Evidence.",
    )
    scores, target = answer_scores(run, test_overview(run), test_idx, method)
    on_test = float(scores[picks].sum(dtype=np.float64))
    does = "more sure of" if on_test > 0 else "less sure of"
    what = f"“{run.targets(test_idx)[target]}”" if run.info.has_classes else "a high answer"
    say("group on test", f"They make the model {does} {what} for test example {test_idx}: {on_test:+.3g} together.")
    if not run.info.has_classes:
        say("group on all", f"On an average test example: {float(sums[0]):+.3g}.")
        return
    order = np.argsort(-np.abs(sums), kind="stable")[:12]
    order = order[np.argsort(-sums[order], kind="stable")]
    unit = "change of the margin" if run.in_model_units(method) else "sum of scores (no unit)"
    chart = group_chart([influence.names[i] for i in order], [float(sums[i]) for i in order], unit)
    show(chart, "group", "What the picked training examples do to an average test example of each class")


def matrix_panel(run: Run, method: str) -> ClassMatrix:
    """Classes by classes, and the pairs behind the open cell."""
    st.markdown(
        "**Classes by classes**: how training class ↓ moves test class →",
        help="The scores of all training examples of a class, added up (or their mean, one by one), for the label of "
        "an average test example of the other. Blue and plus helps, orange and minus hurts. Click a cell for the pairs "
        "behind it.",
    )
    chosen = st.segmented_control(
        "Count training examples", list(_PER), default="all together", required=True, key="per", bind="query-params"
    )
    matrix = matrix_of(run, method, cast(Literal["together", "example"], _PER[chosen or "all together"]))
    if max(matrix.values.shape) > MANY_CLASSES:
        st.caption(f"The {MANY_CLASSES} classes that move others most are shown; the download has all.")
        shown = matrix.strongest(MANY_CLASSES)
    else:
        shown = matrix
    opened = _open_cell(shown)
    note("matrix", Figure("How training classes move test classes", matrix_figure(shown)))
    class_grid(shown, opened, key="classes", on_open=_remember_cell)
    _pairs(run, method, opened)
    return matrix


def _open_cell(matrix: ClassMatrix) -> tuple[int, int]:
    """The cell of the address, as `cell=8.1` (training class, test class), or the strongest one between two classes."""
    asked = st.query_params.get("cell")
    if asked is None:
        return strongest_cell(matrix)
    parts = asked.split(".")
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) < 7]
    if len(parts) != 2 or len(numbers) != 2 or numbers[0] not in matrix.rows or numbers[1] not in matrix.columns:
        leave_out("cell", f"There is no cell “{plain(asked)}” in this matrix; this is the strongest one.")
    return numbers[0], numbers[1]


def _remember_cell(train_class: int, test_class: int) -> None:
    st.query_params["cell"] = f"{train_class}.{test_class}"


def _pairs(run: Run, method: str, opened: tuple[int, int]) -> None:
    train_name, test_name = (run.info.class_names[label] for label in opened)
    say("cell", f"Training examples of “{train_name}” that move test examples of “{test_name}”, strongest pairs first:")
    n_pairs = 4 if shows_texts(run) else 9
    for side, title in (("proponent", ":blue[▲ help]"), ("opponent", ":orange[▼ hurt]")):
        pairs = cell_pairs(run, method, *opened, cast(Literal["proponent", "opponent"], side), n_pairs)
        st.markdown(title)
        if not pairs:
            st.caption("None among the 100 strongest of any of these test examples.")
            continue
        pair_gallery(
            run,
            method,
            f"pairs of {train_name} and {test_name} that {'help' if side == 'proponent' else 'hurt'}",
            pairs,
            side,
            key=f"pairs {side}",
        )


def _look_at(train_idx: int) -> None:
    st.session_state["looked at on the map"] = train_idx
