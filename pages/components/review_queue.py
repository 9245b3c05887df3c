"""The queue of the Label review page: what is in it, who walks through it, and how far it is."""

import secrets
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.address import choose_train, put_right
from pages.components.kept import kept_per_run
from pages.components.text import plain
from pages.components.view import Words, note
from trak_core.errors import TrakCoreError
from trak_core.store.reviews import LONGEST_NAME, ReviewLog, Reviews
from trak_core.store.run import Run
from trak_core.views import SuspectFilter, SuspectQueue, Suspects, data_fingerprint, read_suspects, suspect_signals

__all__ = ["PASSED", "choose_queue", "choose_suspect", "progress_bar", "read_log", "reviews_of"]

PASSED = "passed"
"""Session key of the train example that was just judged: the next one in the queue comes up."""
LENGTHS = {"first 200": 200, "first 50": 50, "first 1,000": 1000, "all": None}
_SIGNAL_HELP = (
    "What makes a label suspicious. Low confidence: the models, trained on this very label, still doubt it. "
    "Self-influence: only the example itself speaks for its label. Hurts its own class: having it in the training set "
    "makes the models less sure of test examples of its own class."
)
_SHOW_HELP = (
    "To review: nobody has said anything yet. By me: you have not, others may have. Unsure: somebody could not tell. "
    "Disputed: two reviewers differ."
)


def reviewer_name() -> str:
    """The field for the reviewer's name; whoever gives none is a guest with a number."""
    if not str(st.session_state.get("reviewer") or st.query_params.get("reviewer") or "").strip():
        st.session_state["reviewer"] = f"guest-{secrets.token_hex(2)}"
    name = st.text_input(
        "Your name",
        key="reviewer",
        bind="query-params",
        max_chars=LONGEST_NAME,
        help="Stands beside your verdicts, and undo takes back yours alone.",
    )
    return name.strip()[:LONGEST_NAME]


def choose_queue(run: Run) -> tuple[Suspects, SuspectFilter, str, DeltaGenerator]:
    """The choices that make up the queue: suspects by a signal, the filter, the name of the signal, and their row."""
    signals, names = suspect_signals(run), list(run.info.class_names)
    row = st.container(horizontal=True, vertical_alignment="bottom")
    with row:
        title = _option("signal", "Signal", list(signals.values()), 170, _SIGNAL_HELP)
        show = _option("show", "Show", ["to review", "to review by me", "unsure", "disputed", "all"], 150, _SHOW_HELP)
        length = _option("length", "Queue", list(LENGTHS), 130, "How many suspects the progress is counted over.")
        for asked in st.query_params.get_all("label"):
            if asked not in names:
                put_right("label", f"There is no class “{plain(asked)}” in this run; every class is shown.")
        if set(st.session_state.get("label") or ()) - set(names):  # left by a run with other classes
            st.session_state["label"] = []
        with st.container(width=180):
            classes = st.multiselect("Label", names, key="label", bind="query-params", placeholder="every class")
        with st.container(width=130):
            reviewer = reviewer_name()
    labels = tuple(names.index(name) for name in classes)
    signal = next(name for name in signals if signals[name] == title)
    wanted = SuspectFilter(labels, LENGTHS[length], show, reviewer)  # type: ignore[arg-type]
    return _suspects(run, signal), wanted, title, row


def _option(key: str, title: str, options: Sequence[str], width: int, help_text: str) -> str:
    asked = st.query_params.get(key)
    if asked is not None and asked not in options:
        put_right(key, f"There is no choice “{plain(asked)}” under {title}; this is “{plain(options[0])}”.")
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    return st.selectbox(title, options, key=key, bind="query-params", help=help_text, width=width)


@kept_per_run(max_entries=16)
def _suspects(run: Run, signal: str) -> Suspects:
    return read_suspects(run, signal)


def reviews_of(run: Run) -> Reviews:
    """The verdicts on the data of a run."""
    return Reviews(run.path, data_fingerprint(run))


def read_log(run: Run) -> ReviewLog:
    """The review as it is now; a page that cannot read it stops here and says why."""
    reviews = reviews_of(run)
    try:
        return _log(reviews, str(run.path), data_fingerprint(run), reviews.generation())
    except TrakCoreError as error:
        st.error(f"The verdicts cannot be read: {plain(error)}", icon=":material/error:")
        st.stop()


@st.cache_resource(max_entries=16, show_spinner=False)
def _log(_reviews: Reviews, path: str, data: str, written: tuple[int, int] | None) -> ReviewLog:
    return _reviews.read()


def choose_suspect(run: Run, queue: SuspectQueue) -> int | None:
    """The suspect to look at: the next one after a verdict, else that of the address; None when none is left."""
    passed = st.session_state.pop(PASSED, None)
    if passed is not None or (st.session_state.get("train") is None and "train" not in st.query_params):
        st.session_state["train"] = queue.after(passed)
        if st.session_state["train"] is None:
            st.query_params.pop("train", None)
            return None
    with st.container(width=150):
        chosen = choose_train(run)
    return queue.after(None) if chosen is None else chosen


def progress_bar(queue: SuspectQueue, log: ReviewLog) -> None:
    """How far the review is, and how many labels were really wrong."""
    words = f"{queue.n_reviewed:,} of {queue.n:,} reviewed"
    if queue.precision is not None:
        found = f"{queue.n_errors:,} error{'' if queue.n_errors == 1 else 's'} found"
        words += f", {found} ({queue.precision:.0%} of the {queue.n_decided:,} decided)"
        if queue.n_recent < queue.n_decided:
            words += f"; {queue.n_recent_errors} of the last {queue.n_recent}"
    st.progress(queue.progress, text=words)
    note("progress", Words(words))
    if log.n_of_other_data:
        st.info(
            f"The review file of this run also holds verdicts about other data ({log.n_of_other_data:,}). They are "
            "kept there, and nothing here counts or applies them.",
            icon=":material/history:",
        )
