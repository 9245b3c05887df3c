"""Home: the runs, how far their builds are, and stories to begin with."""

import streamlit as st

from pages.components.first_run import first_run, is_first_run
from pages.components.pages import EXPLORE, PRESENT, RUNS
from pages.components.routing import through_app
from pages.components.run_panels import STATES, something_moves
from pages.components.runs import builds, current_run, place_in_line, stories_of, summary_of
from pages.components.stories import story_card
from pages.components.text import plain
from trak_core.store.catalog import RunSummary, run_dirs
from trak_core.views.custom_data import run_in_words

through_app()


def show_runs() -> None:
    """The runs; looked at again and again only while one of them is being built."""
    st.header("Runs", anchor=False)
    watch_runs() if something_moves() else list_runs()
    st.page_link(RUNS, label="Build, compare or open another run", icon=":material/add:")


@st.fragment(run_every="2s")
def watch_runs() -> None:
    if not something_moves():
        st.rerun(scope="app")
    list_runs()


def list_runs() -> None:
    for path in run_dirs():
        show_run(summary_of(path))


def show_run(run: RunSummary) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch", gap="xsmall"):
            st.text(run.name)
            if run.info is not None and (what := run_in_words(run.info)) is not None:
                st.caption(plain(what))
            if run.n_train is not None:
                st.caption(f"{run.n_train:,} training examples, {run.n_test:,} test examples")
            if run.lds is not None:
                st.caption(
                    f"LDS {run.lds:.2f} of at most {run.noise_ceiling:.2f}"
                    if run.noise_ceiling
                    else f"LDS {run.lds:.2f}"
                )
            line = place_in_line(run.path)
            if line:
                st.progress(0.0, text=line)
            elif run.build is not None and run.state == "building":
                st.progress(run.build.fraction, text=f"{run.build.step}{run.build.time_left}")
            problem = run.problem or builds().failure(run.path)
            if problem:
                st.text(problem)
        label, colour, icon = STATES["waiting" if line else run.state]
        if not line and run.can_open and run.build is not None and run.build.command[:1] == ["evidence"]:
            label = {"building": "measuring", "failed": "measuring failed"}.get(run.state, label)
        st.badge(label, color=colour, icon=icon)  # type: ignore[arg-type]
        going_on = builds().is_running(run.path)
        if run.state in ("stopped", "failed") and not going_on and run.build is not None and run.build.command:
            st.button(
                "Go on",
                key=f"go on {run.name}",
                on_click=builds().start_build,
                args=(run.path, run.build.command),
                help="It goes on where it stopped.",
            )
        if run.can_open:
            st.page_link(EXPLORE, label="Open", icon=":material/search:", query_params={"run": run.name})


def show_stories() -> None:
    run = current_run()
    stories = stories_of(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header("Begin with a story", width="stretch", anchor=False)
        st.page_link(
            PRESENT, label="Present the stories", icon=":material/slideshow:", query_params={"run": run.info.name}
        )
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
if st.session_state.get("run") is None and is_first_run():
    first_run()
else:
    show_runs()
    if st.session_state.get("run") is not None:
        show_stories()
