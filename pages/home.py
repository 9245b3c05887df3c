"""Home: the runs, how far their builds are, and stories to begin with."""

from pathlib import Path

import streamlit as st

from pages.components.learnt import learnt_badge, quality_of_run
from pages.components.pages import EXPLORE, PRESENT, RUNS, link_to
from pages.components.routing import through_app
from pages.components.run_panels import run_list
from pages.components.runs import builds, open_cached, place_in_line, run_with_scores, stories_of
from pages.components.stories import story_card
from pages.components.text import told
from trak_core.folders import runs_dir
from trak_core.store.catalog import published_runs, run_dirs
from trak_core.store.progress import BuildStatus, read_status

through_app()

FIRST = "digits"


@st.fragment(run_every="1s")
def first_run() -> None:
    """Starts the first build if nothing builds, shows how far it is, and opens the explorer when it can be browsed."""
    run_dir = runs_dir() / FIRST
    if published_runs() and open_cached(run_dir).has_scores:
        st.switch_page(EXPLORE)
    status = read_status(run_dir)
    command = status.command if status and status.command else ["build", FIRST]  # one not finished keeps its settings
    problem = problem_of(run_dir, status)
    if problem:
        st.error(f"The first run could not be built: {told(problem)}", icon=":material/error:")
        st.button("Try again", on_click=builds().start_build, args=(run_dir, command), icon=":material/refresh:")
        return
    if status is None or status.state != "running":
        builds().start_build(run_dir, command)
    with st.container(border=True):
        st.subheader("Building your first run: handwritten digits")
        fraction = status.fraction if status else 0.0
        step = status.step if status else "starting"
        st.progress(fraction, text=place_in_line(run_dir) or f"{step[:1].upper()}{step[1:]} …")
        left = status.seconds_to_scores if status else None
        st.write(f"The explorer opens in about {left:.0f} seconds." if left else "The explorer opens within a minute.")
        st.caption(
            "20 small networks are trained on 1,437 images, then 400 more on random halves of them: 80 to choose the "
            "ridge, 320 as proof of what the scores say. Everything is computed on this machine."
        )


def problem_of(run_dir: Path, status: BuildStatus | None) -> str | None:
    if builds().is_running(run_dir) or (status is not None and status.state == "running"):
        return None
    if status is not None and status.state == "failed":
        return status.message
    return builds().failure(run_dir)


def show_stories() -> None:
    run = run_with_scores()
    stories = stories_of(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header("Begin with a story", width="stretch", anchor=False)
        link_to(PRESENT, "Present the stories", "slideshow", run=run.info.name)
    learnt_badge(quality_of_run(run))
    cards = [*st.columns(3), *(st.columns(3) if len(stories) > 3 else [])]
    for card, story in zip(cards, stories, strict=False):
        with card, st.container(border=True, height="stretch"):
            story_card(run, story)


st.title("Which training examples made the model say this?")
st.markdown(
    "Pick a test example and see the training examples that spoke **for** the model's answer :blue[▲ proponents] and "
    "those that spoke **against** it :orange[▼ opponents]. Every answer carries its **trust**: models are really "
    "retrained on other data, and the scores have to predict what comes out."
)
if st.session_state.get("run") is None and all(path.name == FIRST for path in run_dirs()):
    first_run()
else:
    st.header("Runs", anchor=False)
    run_list(with_tools=False)
    st.page_link(RUNS, label="Build, compare or open another run", icon=":material/add:")
    if st.session_state.get("run") is not None:
        show_stories()
