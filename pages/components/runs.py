"""Which run is looked at: the picker, the open run, what is kept of it, and what is shown when there is none."""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import streamlit as st

from pages.components.address import leave_out
from pages.components.text import for_page, plain, told
from trak_core.errors import TrakCoreError
from trak_core.folders import runs_dir
from trak_core.jobs import Jobs
from trak_core.store.catalog import RunSummary, published_runs, run_dirs, summarize
from trak_core.store.files import RunFiles, file_version, generation
from trak_core.store.progress import BuildStatus, is_being_built, read_status
from trak_core.store.run import Run, open_run
from trak_core.subjects.of_run import why_no_subject
from trak_core.views.browse import overview
from trak_core.views.neighbours import feature_space
from trak_core.views.review import suspect_signals
from trak_core.views.run_card import RunCard, run_card
from trak_core.views.stories import Story, find_stories

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def kept_per_run(
    max_entries: int, spinner: str | bool = False
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """A decorator that keeps results for all visitors, and computes them anew once another store is published."""
    return st.cache_resource(
        max_entries=max_entries, show_spinner=spinner, hash_funcs={Run: lambda run: (str(run.path), run.generation)}
    )


@st.cache_resource(show_spinner=False)
def builds() -> Jobs:
    """The builds of this server, apart from its other jobs: what takes seconds does not wait for what takes minutes."""
    return Jobs()


def place_in_line(run_dir: Path) -> str:
    """What to say of a build that waits for others to end; empty for any other."""
    status = builds().status(run_dir)
    return "" if status is None else status.place_in_line


# By the published generation, so that a new store is opened anew.
@st.cache_resource(max_entries=8, show_spinner=False)
def _open(path: str, published: tuple[int, int, int] | None) -> Run:
    return open_run(Path(path))


def open_cached(path: Path) -> Run:
    """The run in a directory, newest generation, kept open; raises what `open_run` raises."""
    return _open(str(path), generation(path))


@st.cache_data(max_entries=64, show_spinner=False)
def _summary(path: str, published: tuple[int, int, int] | None, build: BuildStatus | None) -> RunSummary:
    return summarize(Path(path))


def summary_of(path: Path) -> RunSummary:
    """The summary of a run, read again only when its store or its build has changed."""
    return _summary(str(path), generation(path), read_status(path))


@st.cache_data(max_entries=64, show_spinner=False)
def _card(path: str, published: tuple[int, int, int] | None) -> RunCard | None:
    try:
        with open_run(Path(path)) as run:
            return run_card(run)
    except TrakCoreError:  # the list of runs says what is wrong with it
        return None


def card_of(path: Path) -> RunCard | None:
    """The truth about a run, as its card tells it; None where it cannot be opened."""
    return _card(str(path), generation(path))


def pick_run() -> None:
    """The run picker; its choice is part of the address."""
    names = [path.name for path in published_runs()]
    if not names:
        return
    asked = st.query_params.get("run")
    held = st.session_state.get("run")
    if held is not None and held not in names:
        # It was picked when it was there. The picker holds the address too, which then cannot be changed from here.
        st.warning(
            f"There is no run “{plain(held)}” any more; this is “{plain(names[0])}”.", icon=":material/link_off:"
        )
        st.session_state["run"] = names[0]
    elif asked is not None and asked not in names:
        why = f"There is no run “{plain(asked)}” here"
        if asked in [path.name for path in run_dirs()]:
            why = f"There is nothing to see of “{plain(asked)}” yet; Home shows how far its build is"
        leave_out("run", f"{why}; this is “{plain(names[0])}”.")
    tip = "The run that every page shows."
    st.selectbox("Run", names, key="run", bind="query-params", width=220, label_visibility="collapsed", help=tip)


def current_run() -> Run:
    """The run picked, newest generation; pages that need one stop here with a clear state when there is none."""
    name = st.session_state.get("run")
    if name is None:
        st.info(
            "There is no run to look at yet. The Home page shows how far the first one is.", icon=":material/hourglass:"
        )
        st.page_link("pages/home.py", label="Go to Home", icon=":material/home:")
        st.stop()
    try:
        return open_cached(runs_dir() / name)
    except TrakCoreError as error:
        st.error(f"This run cannot be opened: {told(error)}", icon=":material/error:")
        st.page_link("pages/home.py", label="Go to Home", icon=":material/home:")
        st.stop()


def run_with_scores() -> Run:
    """As `current_run`; pages that need scores stop here while there are none, and come once there are."""
    run = current_run()
    if run.has_scores:
        return run
    st.subheader("The scores are not there yet", anchor=False)
    if is_busy(run):
        st.write("Models are being trained and compared; this page shows what came out as soon as it is there.")
    else:
        stopped_build_panel(run, "Scores are computed once the build goes on.")
    if suspect_signals(run):
        st.write("Labels that look wrong are there already.")
        st.page_link("pages/review.py", label="Review labels", icon=":material/rule:")
    refresh_when_published(run)
    st.stop()


def command_of(path: Path, build: BuildStatus | None) -> list[str] | None:
    """What goes on with a build; the command it was started with here where it was killed before it said one."""
    return (build.command if build is not None else None) or builds().started(path.parent).get(path)


def go_on_button(
    path: Path,
    command: list[str],
    label: str = "Go on",
    tip: str | None = "It goes on where it stopped.",
    place: str = "",
) -> None:
    """The button that goes on with the build of a run; `place` tells two on one page apart."""
    st.button(
        label,
        key=f"go on {path.name}{place}",
        on_click=builds().start_build,
        args=(path, command),
        icon=":material/play_arrow:",
        help=tip,
    )


def stopped_build_panel(run: Run, missing: str) -> None:
    """Says that the build of a run was stopped or failed, how far it was, and what is `missing` because of that."""
    build = read_status(run.path)
    problem = builds().failure(run.path) or (build.message if build is not None else "")
    command = command_of(run.path, build)
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch", gap="xsmall"):
            st.markdown("**The build failed**" if problem else "**The build was stopped**")
            if build is not None and build.step:
                st.text(f"It was {build.fraction:.0%} done when it ended, at this step: {build.step}.")
            if problem:
                st.text(for_page(problem))
            st.caption(f"Nothing is being computed for this run now. {missing}")
            if not command:
                st.caption(
                    "Nothing is left here that tells how this build goes on; build the run again under its name."
                )
        if command:
            go_on_button(run.path, command, place=" in the panel")


test_overview = kept_per_run(max_entries=8)(overview)
feature_directions = kept_per_run(max_entries=2)(feature_space)


@kept_per_run(max_entries=8)
def stories_of(run: Run) -> list[Story]:
    """The stories of a run."""
    return find_stories(run, test_overview(run), feature_directions(run))


def reviews_written(run: Run) -> tuple[int, int, int] | None:
    """A value that changes when a verdict, a what-if or a retraining of the run is written; None before the first."""
    return file_version(RunFiles(run.path).reviews)


def is_busy(run: Run) -> bool:
    """True while the run is being built or measured, or waits for it."""
    return builds().is_running(run.path) or is_being_built(RunFiles(run.path))


def can_be_measured(run: Run) -> bool:
    """True when the run's data and model can be had, and its gradients are whole, as methods are compared with them."""
    return why_no_subject(run) is None and not run.info.is_projected


def refresh_when_published(run: Run) -> None:
    """Tells how far a build of the run is, and shows the page anew when it publishes."""
    # A timer only where there is something to wait for; what was just started here has left no sign yet.
    if read_status(run.path) is not None or builds().is_running(run.path):
        _watch_build(run, is_busy(run))


@st.fragment(run_every="2s")
def _watch_build(run: Run, was_busy: bool) -> None:
    # Also when it ended without a publication: then there is a failure to tell, or a button to go on.
    if generation(run.path) != run.generation or (was_busy and not is_busy(run)):
        st.rerun(scope="app")
    build, line = read_status(run.path), place_in_line(run.path)
    if line:
        st.progress(0.0, text=line)
    elif build is not None and build.state == "running":
        st.progress(build.fraction, text=f"More is on its way: {build.step}{build.time_left}.")
