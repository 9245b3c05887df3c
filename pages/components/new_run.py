"""Adding a run: build one from a recipe, or open the file of one that was exported; its name and its seed."""

from pathlib import Path

import streamlit as st

from pages.components.background_button import background_button
from pages.components.run_panels import say
from pages.components.runs import builds
from pages.components.text import plain, told
from pages.components.view import show_error
from trak_core.errors import InvalidSettingError, TrakCoreError
from trak_core.folders import runs_dir
from trak_core.store.archive import import_run
from trak_core.store.catalog import check_run_name
from trak_core.subjects import RECIPES
from trak_core.subjects.planting import KINDS, MAX_SHARE
from trak_core.views.custom_data import typed_path

_MINUTES = {"digits": ("about a minute", "10 to 20 minutes"), "docstrings": ("1 to 2 minutes", "30 to 50 minutes")}
MAX_SEED = 2**53 - 1  # what a browser can count to
_KIND_TITLES = {"uniform": "of any other class", "confusable": "of classes that look alike"}


def recipe_panel() -> None:
    """The form for a build from a recipe."""
    names = list(RECIPES)
    chosen = st.selectbox("Recipe", names, format_func=lambda name: f"{name}: {RECIPES[name].title}", key="recipe")
    recipe = RECIPES[chosen]
    st.caption(recipe.description)
    suggested = free_name(recipe.name)
    name_and_seed(suggested)
    _wrong_labels()
    every = st.toggle(
        "Measure every method",
        key="new evidence",
        help="Scores of all methods, each judged by retrained models, and removal. Without it there is TRAK, with its "
        "evidence; the rest can be measured later, on the Evidence page.",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Start", type="primary", icon=":material/play_arrow:", on_click=_start, args=(recipe.name, suggested))
        if recipe.name in _MINUTES:
            st.caption(f"Takes {_MINUTES[recipe.name][every]} on two processor cores; it can be browsed earlier.")


def _wrong_labels() -> None:
    """How many labels to make wrong on purpose, and which wrong ones these get."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        percent = st.number_input(
            "Plant wrong labels, %",
            min_value=0,
            max_value=round(100 * MAX_SHARE),
            value=0,
            step=5,
            key="new flip percent",
            width=170,
            help="Makes so many training labels wrong on purpose, to try how well Label review finds wrong ones. "
            "The truth is kept in the run for measuring and not shown there. Test labels stay as they are.",
        )
        if percent:
            tip = "Of classes that look alike: the mistakes that people make, and harder to find."
            st.selectbox("Wrong labels are", KINDS, format_func=_KIND_TITLES.__getitem__, key="new flip kind", help=tip)


def _start(recipe: str, suggested: str) -> None:
    try:
        run_dir = new_run_dir(suggested)
    except TrakCoreError as error:
        say(told(error))
        return
    command = ["build", recipe, "--name", run_dir.name, "--seed", str(int(st.session_state["new seed"]))]
    if percent := int(st.session_state["new flip percent"]):
        # Typed and started in one go, the share comes before its kind was ever drawn.
        kind = str(st.session_state.get("new flip kind", KINDS[0]))
        command += ["--flip-labels", str(percent / 100), "--flip-kind", kind]
    builds().start_build(run_dir, [*command, *(["--evidence"] if st.session_state["new evidence"] else [])])
    st.session_state["new name"] = ""


def open_file_panel() -> None:
    """Opens a run that somebody exported."""
    st.markdown("**Open a run file**", help="A run as one file, made under “Details”, “Export run”.")
    # As large as the server takes (server.maxUploadSize): a limit of the widget alone would promise more.
    st.file_uploader("Run file", type="zip", key="run file")
    st.text_input(
        "Name here", key="file name", placeholder="the name it was exported under", max_chars=100, autocomplete="off"
    )
    if st.session_state.get("run file") is None and (path := _typed_file()) is not None:
        name = str(st.session_state["file name"]).strip()
        background_button(
            "Add to the runs",
            key=f"import {path} {name}",
            arguments=["import", str(path), *(["--name", name] if name else [])],
            doing="Checking the run file",
            done="The run was added.",
            icon=":material/upload_file:",
        )
    else:
        st.button("Add to the runs", on_click=_open_file, icon=":material/upload_file:")
    st.caption("Every part of the file is checked before the run is added.")


def _typed_file() -> Path | None:
    """The field for the path of a file that is too large for a browser, and what was typed there."""
    st.text_input(
        "Or its path on this machine",
        key="run file path",
        max_chars=4000,
        autocomplete="off",
        help="For a file that is larger than a browser may upload.",
    )
    try:
        return typed_path(str(st.session_state["run file path"] or ""))
    except TrakCoreError as error:
        show_error(error)
        return None


def _open_file() -> None:
    file = st.session_state.get("run file")
    if file is None:
        say("Choose a run file first.", ":material/info:")
        return
    try:
        run_dir = import_run(file, runs_dir(), str(st.session_state["file name"]).strip() or None)
    except TrakCoreError as error:
        say(told(str(error).replace("with --name", "under “Name here”")))
        return
    st.session_state["file name"] = ""
    say(f"The run “{plain(run_dir.name)}” was added.", ":material/check_circle:")


def name_and_seed(suggested: str) -> None:
    """The fields "new name" and "new seed"."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tip = "Letters, digits, dots, dashes and underscores. Left empty, the run gets the name that is shown."
        st.text_input("Name", key="new name", placeholder=suggested, max_chars=100, autocomplete="off", help=tip)
        tip = "The root of every random choice. Two runs that differ only in it show what is chance."
        st.number_input("Seed", min_value=0, max_value=MAX_SEED, value=0, step=1, key="new seed", width=150, help=tip)


def free_name(wanted: str) -> str:
    """The name, or the next one with a number that no run has, and none that waits to be built."""
    candidates = (wanted, *(f"{wanted}-{number}" for number in range(2, 10_000)))
    return next(name for name in candidates if not _is_taken(runs_dir() / name))


def new_run_dir(suggested: str) -> Path:
    """Where the run will lie whose name was typed, or else has the name suggested.

    Raises:
        InvalidSettingError: the name will not do, or is taken.
    """
    name = str(st.session_state["new name"] or suggested).strip()
    run_dir = runs_dir() / check_run_name(name)
    if _is_taken(run_dir):
        raise InvalidSettingError(f"There is a run “{name}” already; give the new one another name.")
    return run_dir


def _is_taken(run_dir: Path) -> bool:
    return run_dir.exists() or builds().is_running(run_dir)
