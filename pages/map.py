"""Map: all examples by what they teach the model, and what groups of them do."""

from functools import partial
from typing import Literal, cast

import numpy as np
import streamlit as st

from pages.components.address import choose_method, choose_option, choose_test, go_to_test, is_number, leave_out
from pages.components.charts import group_chart, show
from pages.components.class_grid import class_grid, matrix_figure
from pages.components.export import take_away
from pages.components.gallery import MAX_ITEMS, GalleryItem, gallery, named
from pages.components.learnt import learnt_warning
from pages.components.pages import EXPLORE, TRAIN, link_to, page_address
from pages.components.picks import clear_picks, pick_many, picked_train, replace_picks, toggle_pick
from pages.components.review_queue import read_log
from pages.components.routing import through_app
from pages.components.runs import (
    builds,
    is_busy,
    kept_per_run,
    refresh_when_published,
    run_with_scores,
    stopped_build_panel,
    test_overview,
)
from pages.components.scatter import map_figure, scatter
from pages.components.text import plain, told
from pages.components.view import Figure, note, say
from pages.components.what_if import what_if_panel
from trak_core.store.run import Run
from trak_core.views.answer_words import has_answer
from trak_core.views.examples import read_examples, shows_texts
from trak_core.views.groups import (
    ClassMatrix,
    Pair,
    cell_pairs,
    class_influence,
    class_matrix,
    group_influence,
    strongest_cell,
)
from trak_core.views.map import (
    Colour,
    Colouring,
    MapPoints,
    answer_scores,
    colour_options,
    colouring,
    map_points,
    map_table,
    points_inside,
    train_answers,
)
from trak_core.views.stories import first_test

through_app()
MANY_CLASSES = 25
COLOUR_HELP = (
    "class: the label. prediction: the model's answer. loss: how hard the model finds it. self-influence: how much a "
    "training example speaks for itself. verdict: of the label review. score: what each training example does to the "
    "answer of the chosen test example; blue helps, orange hurts."
)
PER = {"all together": "together", "one by one": "example"}


points_of = kept_per_run(max_entries=8)(map_points)
answers_of = kept_per_run(max_entries=8)(train_answers)
influence_of = kept_per_run(max_entries=8)(class_influence)


@kept_per_run(max_entries=32)
def matrix_of(run: Run, method: str, per: Literal["together", "example"]) -> ClassMatrix:
    """How each training class moves each test class."""
    return class_matrix(run, influence_of(run, method), per)


@kept_per_run(max_entries=16)
def kept_colours(run: Run, by: Colour, method: str) -> Colouring:
    return colouring(run, by, method, test_overview(run), answers_of(run), np.empty(0, np.float32), {})


def colours_of(run: Run, by: Colour, method: str, test_idx: int) -> Colouring:
    """The colour of every example; verdicts and scores are read anew, the rest is kept."""
    if by not in ("verdict", "score"):
        return kept_colours(run, by, method)
    tests, answers = test_overview(run), answers_of(run)
    verdicts = {idx: verdict.verdict for idx, verdict in read_log(run).latest.items()} if by == "verdict" else {}
    scores = answer_scores(run, tests, test_idx, method)[0] if by == "score" else np.empty(0, np.float32)
    return colouring(run, by, method, tests, answers, scores, verdicts)


def no_map(run: Run) -> None:
    """What stands in place of the map while there is none, and the way to it."""
    if not run.info.provenance.get("complete") and not is_busy(run):
        stopped_build_panel(run, "The map is drawn as the last step of the build, once it goes on.")
        return
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
        st.write("It is drawn from what each example teaches the model, in seconds to minutes.")
        if problem := builds().failure(run.path):
            st.error(f"It could not be drawn: {told(problem)}", icon=":material/error:")
        busy = is_busy(run)
        st.button(
            "Being drawn …" if busy else "Draw the map",
            icon=":material/scatter_plot:",
            on_click=builds().start_build,
            args=(run.path, ["map", run.info.name]),
            disabled=busy,
            type="primary",
        )


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
                    GalleryItem(one, f"picked {named(one)}", caption=one.label_name)
                    for one in read_examples(run, "train", on_page)
                ],
                key="picked_gallery",
                on_pick=look_at,
                selected=looked_at,
                size=40,
            )
        if looked_at in picks:
            link_to(TRAIN, f"Open training example {looked_at}", "arrow_forward", run=run.info.name, train=looked_at)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{len(on_page)} of {len(picks):,} shown")
            if n_pages > 1:
                st.pagination(n_pages, key="picked_page")
            st.button("Clear", icon=":material/close:", on_click=clear_picks, key="clear_group")
    with effect:
        effect_panel(run, picks, test_idx, method)


def effect_panel(run: Run, picks: list[int], test_idx: int, method: str) -> None:
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
    said = f"They make the model {does} {what} for test example {test_idx}"
    if not has_answer(run):
        said = f"They {'raise' if on_test > 0 else 'lower'} the model output of test example {test_idx}"
    say("group on test", f"{said}: {on_test:+.3g} together.")
    if not run.info.has_classes:
        say("group on all", f"On an average test example: {float(sums[0]):+.3g}.")
        return
    order = np.argsort(-np.abs(sums), kind="stable")[:12]
    order = order[np.argsort(-sums[order], kind="stable")]
    unit = "change of the margin" if run.in_model_units(method) else "sum of scores (no unit)"
    chart = group_chart([influence.names[i] for i in order], [float(sums[i]) for i in order], unit)
    show(chart, "group", "What the picked training examples do to an average test example of each class")


def matrix_panel(run: Run, method: str) -> None:
    """The influence of classes on classes, and the pairs behind the open cell."""
    st.markdown(
        "**Class influence**: how training class ↓ moves test class →",
        help="The scores of all training examples of a class, added up (or their mean, one by one), for the label of "
        "an average test example of the other. Blue and plus helps, orange and minus hurts. Click a cell for the pairs "
        "behind it.",
    )
    chosen = st.segmented_control(
        "Count training examples", list(PER), default="all together", required=True, key="per", bind="query-params"
    )
    matrix = matrix_of(run, method, cast(Literal["together", "example"], PER[chosen or "all together"]))
    shown = matrix
    if max(matrix.values.shape) > MANY_CLASSES:
        st.caption(f"The {MANY_CLASSES} classes that move others most are shown; the download has all.")
        shown = matrix.strongest(MANY_CLASSES)
    opened = open_cell(shown)
    note("matrix", Figure("How training classes move test classes", matrix_figure(shown)))
    class_grid(shown, opened, key="classes", on_open=remember_cell)
    pairs_panel(run, method, opened)


def open_cell(matrix: ClassMatrix) -> tuple[int, int]:
    """The cell of the address, as `cell=8.1` (training class, test class), or the strongest one between two classes."""
    asked = st.query_params.get("cell")
    if asked is None:
        return strongest_cell(matrix)
    parts = asked.split(".")
    numbers = [int(part) for part in parts if is_number(part)]
    if len(parts) != 2 or len(numbers) != 2 or numbers[0] not in matrix.rows or numbers[1] not in matrix.columns:
        leave_out("cell", f"There is no cell “{plain(asked)}” in this matrix; this is the strongest one.")
    return numbers[0], numbers[1]


def remember_cell(train_class: int, test_class: int) -> None:
    st.query_params["cell"] = f"{train_class}.{test_class}"


def pairs_panel(run: Run, method: str, opened: tuple[int, int]) -> None:
    train_name, test_name = (run.info.class_names[label] for label in opened)
    say("cell", f"Training examples of “{train_name}” that move test examples of “{test_name}”, strongest pairs first:")
    n_pairs = 4 if shows_texts(run) else 9
    for side, title in (("proponent", ":blue[▲ help]"), ("opponent", ":orange[▼ hurt]")):
        pairs = cell_pairs(run, method, *opened, cast(Literal["proponent", "opponent"], side), n_pairs)
        st.markdown(title)
        if not pairs:
            st.caption("None among the 100 strongest of any of these test examples.")
            continue
        gallery(
            f"pairs of {train_name} and {test_name} that {'help' if side == 'proponent' else 'hurt'}",
            [pair_item(run, method, pair, side) for pair in pairs],
            key=f"pairs {side}",
            size=40,
        )


def pair_item(run: Run, method: str, pair: Pair, side: str) -> GalleryItem:
    """A training example and the test example that it moves, as a link to their explanation."""
    state = {"run": run.info.name, "test": pair.test.idx, "train": pair.train.idx, "method": run.method_titles[method]}
    return GalleryItem(
        pair.train,
        f"{named(pair.train)}, for {named(pair.test)}: score {pair.score:+.3g}",
        score=f"{pair.score:+.3g}",
        side=side,
        pair=pair.test,
        # Scores of pairs are about the label.
        href=page_address(
            EXPLORE,
            **state,
            target=pair.test.label_name if run.info.has_classes else None,
            picked=st.query_params.get("picked"),
        ),
    )


def look_at(train_idx: int) -> None:
    st.session_state["looked at on the map"] = train_idx


run = run_with_scores()
st.subheader("Map", anchor=False)
say(
    "headline",
    "Every point is one example. Those that teach the model much the same lie close together; examples that the model "
    "confuses lie between groups.",
)
learnt_warning(run)
picks = picked_train(run)
with st.container(horizontal=True, vertical_alignment="bottom"):
    method = choose_method(run, width=230)
    offered = colour_options(run, method)
    notice = f"Points cannot be coloured by “{{asked}}” here; this is “{plain(offered[0])}”."
    colour = cast(Colour, choose_option("Colour by", offered, "colour", notice, help=COLOUR_HELP, width=190))
    test_idx = choose_test(run, default=first_test(run, test_overview(run)))
points = points_of(run)
colours = colours_of(run, colour, method, test_idx)
left, right = st.columns([3, 2]) if run.info.has_classes else (st.container(), None)
with left:
    if points is None:
        no_map(run)
    else:
        with st.container(border=True):
            map_panel(run, points, colours, picks, test_idx)
    with st.container(border=True):
        picked_panel(run, picks, test_idx, method)
if right is not None:
    with right, st.container(border=True):
        matrix_panel(run, method)
with st.container(border=True):
    what_if_panel(run, test_idx, None, method)
take_away(
    f"map_{run.info.name}",
    f"{run.info.name}: map",
    None if points is None else partial(map_table, points, colours, picks),
    run=run.info.name,
    colour=colour,
    test=test_idx,
    method=run.method_titles[method],
)
refresh_when_published(run)
