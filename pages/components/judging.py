"""Somebody's scores, judged by the retrained models of a run: a file, a name, and what the file does not tell."""

import secrets

import streamlit as st

from pages.components.jobs import background_jobs, watch_job
from pages.components.runs import is_busy
from pages.components.text import plain
from pages.components.view import show_error
from trak_core.datasets.uploads import keep_upload
from trak_core.errors import TrakCoreError
from trak_core.folders import sources_dir
from trak_core.store.run import Run
from trak_core.views.judging import (
    KINDS,
    Question,
    can_be_judged_by,
    decided_about,
    judged_names,
    judging_command,
    questions_in,
    refusal_in_words,
)

_JOB, _ASKED, _PROBLEM, _FILE, _NAME, _DONE = (
    f"judging {what}" for what in ("job", "asked", "problem", "file", "name", "done")
)
MAX_NAME = 60


def judging_panel(run: Run) -> None:
    """The form, how far judging is, and what became of it; nothing while the run is busy with something else."""
    whose, key, name = st.session_state.get(_JOB, ("", "", ""))
    is_here = whose == str(run.path)
    is_running = is_here and background_jobs().is_running(key)
    if not can_be_judged_by(run) or (is_busy(run) and not is_running):
        return
    if is_here and not is_running:
        _take_result(key, name)
    if done := st.session_state.pop(_DONE, None):
        said = "".join(f" {plain(sentence)}" for sentence in decided_about(run, done))
        st.success(f"“{plain(done)}” is on the board, marked “judged here”.{said}", icon=":material/check_circle:")
    problem = st.session_state.get(_PROBLEM) if is_here else None
    with st.expander("Judge other scores", icon=":material/gavel:", expanded=is_running or bool(problem)):
        # Drawn while it runs too: what was given would be forgotten, and may be needed for another try.
        _form(run, st.session_state.get(_ASKED, []) if is_here else [], is_running)
        if is_running:
            watch_job(key, "Judging the scores")
        elif problem:
            show_error(problem)


def _form(run: Run, asked: list[Question], is_running: bool) -> None:
    st.caption(
        "Scores of any origin, of all test and training examples of this run in their order, are judged by the models "
        "that were retrained for it: the same halves, intervals and controls as every method here."
    )
    st.file_uploader("File of scores", type=list(KINDS), key=_FILE)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Name on the board", key=_NAME, max_chars=MAX_NAME, width=260, autocomplete="off")
        for question in asked:
            _field(question)
        name = str(st.session_state.get(_NAME) or "").strip()
        st.button(
            "Replace and judge" if name in judged_names(run) else "Judge",
            type="primary",
            icon=":material/gavel:",
            disabled=is_running,
            on_click=_start,
            args=(run, asked),
        )


def _field(question: Question) -> None:
    key = f"judging {question.option}"
    if question.answers:
        st.selectbox(question.title, list(question.answers), index=None, placeholder="choose", key=key, width=260)
    else:
        st.text_input(question.title, key=key, width=260, autocomplete="off")


def _start(run: Run, asked: list[Question]) -> None:
    """Keeps the file and begins to judge it; for callbacks."""
    file, name = st.session_state.get(_FILE), str(st.session_state.get(_NAME) or "").strip()
    st.session_state.pop(_PROBLEM, None)
    if file is None or not name:
        missing = "a file of scores" if file is None else "a name for the scores"
        st.session_state[_JOB] = (str(run.path), "", name)
        st.session_state[_PROBLEM] = f"Give {missing}."
        return
    answers = {
        question.option: question.answers.get(given, given)
        for question in asked
        if (given := str(st.session_state.get(f"judging {question.option}") or ""))
    }
    key = f"judge {secrets.token_hex(8)}"
    st.session_state[_JOB] = (str(run.path), key, name)
    try:
        kept = str(keep_upload(file, file.name, sources_dir()))
    except TrakCoreError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    background_jobs().start(key, judging_command(run, kept, name, answers))


def _take_result(key: str, name: str) -> None:
    """What became of a job that has ended: a word on the page, or the reason with the questions that it asks."""
    status = background_jobs().status(key)
    if status is None:
        return
    background_jobs().forget(key)
    if status.state == "done":
        st.session_state[_DONE] = name
        st.session_state.pop(_ASKED, None)
        del st.session_state[_JOB]
    elif status.state == "failed":
        st.session_state[_PROBLEM] = refusal_in_words(status.message, f"{sources_dir()}/")
        asked = [*st.session_state.get(_ASKED, []), *questions_in(status.message)]
        st.session_state[_ASKED] = list({question.option: question for question in asked}.values())
