"""All runs at once: how far their builds are, stopping them and going on, their logs, and deleting a run."""

import time
from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components.cards import TRUST_HELP
from pages.components.learnt import show_learnt
from pages.components.pages import EVIDENCE, EXPLORE, link_to
from pages.components.runs import builds, card_of, command_of, go_on_button, place_in_line, summary_of
from pages.components.text import for_page, lds_in_words, log_for_page, plain, told
from trak_core.errors import TrakCoreError
from trak_core.folders import runs_dir
from trak_core.store.catalog import RunSummary, delete_run, published_runs, run_dirs
from trak_core.views.custom_data import command_again, run_in_words
from trak_core.views.no_trust import UNDER_WAY

STATES = {
    "ready": ("ready", "green", ":material/check_circle:"),
    "waiting": ("waiting", "gray", ":material/schedule:"),
    "building": ("building", "blue", ":material/hourglass_top:"),
    "stopped": ("stopped", "gray", ":material/pause_circle:"),
    "failed": ("build failed", "red", ":material/error:"),
    "damaged": ("cannot be opened", "red", ":material/broken_image:"),
}
"""How the state of a run is shown: words, colour, icon."""
N_LOG_LINES = 40
SAID = "said about runs"
FORM = "data form"
"""Key of the session state: the arguments of a build as the form says them, without the name of a run."""
SAID_SECONDS = 8.0


def say(text: str, icon: str = ":material/error:") -> None:
    """Leaves word for the next drawings of the page; for callbacks. The text is not escaped."""
    st.session_state[SAID] = (text, icon, None)


def show_said() -> None:
    """Shows what was said last for some seconds: while something is built the page is drawn again at any moment."""
    text, icon, since = st.session_state.get(SAID, ("", "", None))
    if since is not None and time.monotonic() - since > SAID_SECONDS:
        text = ""
    if not text:
        st.session_state.pop(SAID, None)
        return
    st.session_state[SAID] = (text, icon, since or time.monotonic())
    st.info(text, icon=icon)


def _has_word() -> bool:
    """True when something was said that no drawing of the page has shown yet."""
    return SAID in st.session_state and st.session_state[SAID][2] is None


def run_list(with_tools: bool) -> None:
    """Every run, with the tools to manage them or without; looked at again and again only while something moves."""
    if something_moves():
        _watch_runs(with_tools, [path.name for path in published_runs()])
    else:
        _list_runs(with_tools)


@st.fragment(run_every="2s")
def _watch_runs(with_tools: bool, published: list[str]) -> None:
    # The whole page when a build ends, when other runs can be picked, or when there is something to say at its top.
    if not something_moves() or [path.name for path in published_runs()] != published or _has_word():
        st.rerun(scope="app")
    _list_runs(with_tools)


def something_moves() -> bool:
    """True while a build is under way, or was started here and has not shown itself yet."""
    started = any(builds().is_running(path) for path in builds().started(runs_dir()))
    return started or any(summary_of(path).state == "building" for path in run_dirs())


def _list_runs(with_tools: bool) -> None:
    there = run_dirs()
    if with_tools:
        for path, command in builds().started(runs_dir()).items():
            if path not in there:
                _show_unborn(path, command)
    for path in there:
        _show_run(summary_of(path), with_tools)


def _show_unborn(path: Path, command: list[str]) -> None:
    """A build that was started and has nothing on the disk: only just begun, cancelled at once, or unable to begin."""
    status = builds().status(path)
    if status is None or status.state == "done":  # it went well, and was deleted since
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch", gap="xsmall"):
            st.text(path.name)
            if status.is_under_way:
                st.progress(status.fraction, text=status.place_in_line or status.step or "starting")
            else:
                st.text(for_page(status.message) or "Cancelled before it had begun.")
        _badge("building" if status.state == "running" else status.state)
        if status.is_under_way:
            _cancel_button(path)
            return
        _again_button(path, command, "Try again" if status.message else "Go on")
        st.button("Dismiss", key=f"dismiss {path.name}", on_click=builds().forget, args=(path,))


def _badge(state: str, label: str | None = None) -> None:
    usual, colour, icon = STATES[state]
    st.badge(label or usual, color=colour, icon=icon)  # type: ignore[arg-type]


def _show_run(run: RunSummary, with_tools: bool) -> None:
    line = place_in_line(run.path)
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(run.name, width="stretch")
            _badge("waiting" if line else run.state, None if line else _measuring(run))
            if run.can_open:
                link_to(EXPLORE, "Open", "search", run=run.name)
            _build_buttons(run, with_tools)
            if with_tools:
                _delete_button(run)
        if run.info is not None and (what := run_in_words(run.info)) is not None:
            st.caption(plain(what))
        if run.n_train is not None:
            st.caption(f"{run.n_train:,} training examples, {run.n_test:,} test examples")
        _show_truth(run)
        if line:
            st.progress(0.0, text=line)
        elif run.build is not None and run.state == "building":
            st.progress(run.build.fraction, text=f"{run.build.step}{run.build.time_left}")
        problem = run.problem or builds().failure(run.path)
        if problem:
            st.text(for_page(problem))
        if with_tools and (lines := builds().log(run.path, N_LOG_LINES)):
            with st.expander("Log"):
                st.code("\n".join(log_for_page(lines)), language=None)


def _show_truth(run: RunSummary) -> None:
    """Whether the models have learnt anything, then how far explanations can be trusted, doubts before the LDS."""
    card = card_of(run.path) if run.can_open else None
    if card is None:
        return
    show_learnt(card.learnt, card.mark)
    if card.no_trust is not None:
        is_moving = run.state == "building" or builds().is_running(run.path)
        st.caption(UNDER_WAY if is_moving else plain(card.no_trust.sentence))
        if card.no_trust.can_go_on and not is_moving:
            link_to(EVIDENCE, "Measure trust", "science", run=run.name)
    for doubt in card.doubts:
        st.caption(f":material/warning: {plain(doubt)}")
    if run.lds is not None:
        fixed = "" if run.fixed is None else f", {run.fixed:.2f} at fixed class counts"
        st.caption(plain(f"{card.trust} {lds_in_words(run.lds, run.noise_ceiling)}{fixed}."), help=TRUST_HELP)


def _measuring(run: RunSummary) -> str | None:
    """What the badge says instead when the run is whole and its methods are being measured."""
    if not (run.can_open and run.build is not None and run.build.command[:1] == ["evidence"]):
        return None
    return {"building": "measuring", "failed": "measuring failed"}.get(run.state)


def _build_buttons(run: RunSummary, with_tools: bool) -> None:
    if builds().is_running(run.path):
        if with_tools:
            _cancel_button(run.path)
    elif run.state == "building":
        if with_tools:
            tip = "It was started elsewhere, in a terminal say, and can be cancelled only there, with Ctrl-C."
            st.caption("built by another process", help=tip)
    elif run.state in ("stopped", "failed") and run.build is not None:
        command = command_of(run.path, run.build)
        if command:
            go_on_button(run.path, command)


def _again_button(path: Path, command: list[str], label: str) -> None:
    """Begins a build anew of which nothing came: as the form says now, where that is about the same data."""
    again = command_again(path.name, command, st.session_state.get(FORM))
    go_on_button(path, again, label, None if again is command else "With what the form says now.")


def _cancel_button(path: Path) -> None:
    status = builds().status(path)
    stopping = status is not None and status.is_stopping
    st.button(
        "Stopping …" if stopping else "Cancel",
        key=f"cancel {path.name}",
        on_click=_cancel,
        args=(path,),
        disabled=stopping,
        icon=":material/stop:",
        help="Stops the build within seconds. What is finished is kept, and the build can go on later.",
    )


def _cancel(path: Path) -> None:
    if not builds().stop(path):
        say(f"“{plain(path.name)}” had ended already; there was nothing to cancel.", ":material/info:")


def _delete_button(run: RunSummary) -> None:
    if run.state == "building" or builds().is_running(run.path):
        return
    with st.popover("Delete", icon=":material/delete:", key=f"delete {run.name}"):
        st.text(f"This deletes {run.name} with its models and reviews, for everybody and for good.")
        typed = f"typed {run.name}"
        st.text_input("Type the name of the run to confirm", key=typed, autocomplete="off")
        st.button(
            "Delete for good",
            key=f"delete for good {run.name}",
            type="primary",
            on_click=_delete,
            args=(run.path, typed),
        )


def _delete(path: Path, typed: str) -> None:
    if str(st.session_state.get(typed, "")).strip() != path.name:
        say(f"Nothing was deleted: the name that was typed is not “{plain(path.name)}”.", ":material/info:")
        return
    try:
        if builds().is_running(path):
            say(f"“{plain(path.name)}” is being built; cancel the build first.")
            return
        delete_run(path)
    except TrakCoreError as error:
        say(f"Nothing was deleted: {told(error)}")
        return
    builds().forget(path)
    say(f"“{plain(path.name)}” was deleted.", ":material/delete:")


def runs_table() -> pd.DataFrame:
    """All runs as a table, one row each."""
    summaries = [summary_of(path) for path in run_dirs()]
    cards = [card_of(run.path) if run.can_open else None for run in summaries]
    columns = ("name", "state", "n_train", "n_test", "lds", "fixed", "noise_ceiling", "problem")
    table = pd.DataFrame({name: [getattr(run, name) for run in summaries] for name in columns})
    said = {"models": ["" if card is None else card.learnt for card in cards]}
    said["trust"] = ["" if card is None else " ".join((*card.doubts, card.trust)).strip() for card in cards]
    for place, (name, sentences) in enumerate(said.items(), start=columns.index("n_test") + 1):
        table.insert(place, name, sentences)
    return table
