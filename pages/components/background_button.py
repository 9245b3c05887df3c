"""A button that has something done in the background, how far that is, and what came of it."""

from collections.abc import Callable, Sequence

import streamlit as st

from pages.components.jobs import background_jobs, watch_job
from pages.components.text import plain
from pages.components.view import show_error


def background_button(
    label: str,
    key: str,
    arguments: Sequence[str],
    doing: str,
    done: str,
    icon: str,
    prepare: Callable[[], object] | None = None,
) -> None:
    """Has the program do what the arguments say; visitors who ask for the same, under the same key, share one job.

    Args:
        label: of the button.
        key: of the job.
        arguments: of the program.
        doing: what it is doing, for the bar.
        done: what to say once it is done.
        icon: of the button.
        prepare: what has to be done first, such as making the folder that it writes to.
    """
    status = background_jobs().status(key)
    if status is not None and status.is_under_way:
        watch_job(key, doing)
        return
    st.button(label, key=f"do {key}", on_click=_start, args=(key, arguments, prepare), icon=icon)
    if status is not None and status.state == "done":
        st.success(plain(done), icon=":material/check_circle:")
    elif status is not None and status.state == "failed":
        show_error(status.message)


def _start(key: str, arguments: Sequence[str], prepare: Callable[[], object] | None) -> None:
    if prepare is not None:
        prepare()
    background_jobs().start(key, arguments)
