"""The queue of the Label review page: what is in it, who walks through it, and how far it is."""

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitAPIException

from pages.components.address import choose_option, choose_train, put_right
from pages.components.runs import kept_per_run, reviews_written
from pages.components.text import plain, told
from pages.components.view import Words, note
from trak_core.errors import TrakCoreError
from trak_core.store.reviews import LONGEST_NAME, ReviewLog, Reviews
from trak_core.store.run import Run
from trak_core.views.findings import found_counts, found_examples
from trak_core.views.review import (
    SuspectFilter,
    SuspectQueue,
    Suspects,
    data_fingerprint,
    read_suspects,
    standing_log,
    stop_advice,
    suspect_signals,
)

PASSED = "passed"
"""Session key of the train example that was just judged: the next one in the queue comes up."""
_QUEUE = "queue that was shown"
LENGTHS = {"first 200": 200, "first 50": 50, "first 1,000": 1000, "all": None}
LIKELY = "likely wrong"
EVERYTHING = "wrong labels"
_SIGNAL_HELP = """What makes a label suspicious.
- Combined: the pooled votes of all that was not told the label, the models of the next two and the neighbours.
- Out-of-fold confidence: models that never saw the example doubt its label.
- Round 2: so do new models, trained without what the first ones found wrong.
- Neighbours' labels: what is most similar, to the eye and to the models, is labelled otherwise.
- Margin over training: the label was learned late, or never.
- Ensemble disagreement: models differ on it.
- Low confidence: the models doubt the label, even after training on it.
- Self-influence: only the example itself speaks for its label; by TRAK, and by TracIn.
- Hurts its own class: having it in the training set makes the models less sure of test examples of its own class.
"""
_FOUND_HELP = (
    "Wrong labels: every suspect. The others keep those that something else is odd about as well; the order stays that "
    "of the signal. The number counts training examples of the run."
)
_LENGTH_HELP = (
    "How many suspects the progress is counted over. Likely wrong: those whose label speaks against so much that it is "
    "called wrong, whatever their number."
)
_SHOW_HELP = (
    "To review: nobody has said anything yet. By me: you have not, others may have. Unsure: somebody could not tell. "
    "Disputed: two reviewers differ."
)


def reviewer_name() -> str:
    """The field for the reviewer's name; whoever gives none is a guest with a number."""
    if not str(st.session_state.get("reviewer") or st.query_params.get("reviewer") or "").strip():
        st.session_state["reviewer"] = f"guest-{secrets.token_hex(2)}"
    tip = "Stands beside your verdicts, and undo takes back yours alone."
    name = st.text_input("Your name", key="reviewer", bind="query-params", max_chars=LONGEST_NAME, width=110, help=tip)
    return name.strip()[:LONGEST_NAME]


def choose_queue(run: Run) -> tuple[Suspects, SuspectFilter, str, DeltaGenerator]:
    """The choices that make up the queue: suspects by a signal, the filter, the name of the signal, and their row."""
    signals, names = suspect_signals(run), list(run.info.class_names)
    row = st.container(horizontal=True, vertical_alignment="bottom")
    with row:
        title = _option("signal", "Signal", list(signals.values()), 190, _SIGNAL_HELP)
        suspects = _suspects(run, next(name for name in signals if signals[name] == title))
        among = _choose_found(run)
        show = _option("show", "Show", ["to review", "to review by me", "unsure", "disputed", "all"], 140, _SHOW_HELP)
        lengths = [*LENGTHS] if suspects.likely is None else [*LENGTHS, LIKELY]
        length = _option("length", "Queue", lengths, 115, _LENGTH_HELP)
        for asked in st.query_params.get_all("label"):
            if asked not in names:
                put_right("label", f"There is no class “{plain(asked)}” in this run; every class is shown.")
        if set(st.session_state.get("label") or ()) - set(names):  # left by a run with other classes
            st.session_state["label"] = []
        classes = st.multiselect("Label", names, key="label", bind="query-params", placeholder="every class", width=130)
        reviewer = reviewer_name()
    labels = tuple(names.index(name) for name in classes)
    wanted = SuspectFilter(labels, LENGTHS.get(length), show, reviewer, length == LIKELY, among)  # type: ignore[arg-type]
    return suspects, wanted, title, row


def _choose_found(run: Run) -> frozenset[int] | None:
    """Train examples with findings of the chosen kind; None for every suspect."""
    kinds = {f"{words} ({n:,})": kind for kind, (words, n) in found_counts(run).items()}
    if not kinds and "found" not in st.query_params:
        st.session_state.pop("found", None)
        return None
    # Another run, or this one built anew, may have found another number of the same kind.
    asked = str(st.query_params.get("found") or st.session_state.get("found") or "")
    same = next((title for title in kinds if _without_number(title) == _without_number(asked)), asked)
    if asked and same != asked:
        st.session_state["found"] = same
        with contextlib.suppress(StreamlitAPIException):
            st.query_params["found"] = same
    chosen = _option("found", "Found", [EVERYTHING, *kinds], 195, _FOUND_HELP)
    return found_examples(run, kinds[chosen]) if chosen in kinds else None


def _without_number(title: str) -> str:
    return title.split(" (")[0]


def _option(key: str, title: str, options: Sequence[str], width: int, help_text: str) -> str:
    notice = f"There is no choice “{{asked}}” under {title}; this is “{plain(options[0])}”."
    return str(choose_option(title, options, key, notice, help=help_text, width=width))


_suspects = kept_per_run(max_entries=16)(read_suspects)


def reviews_of(run: Run) -> Reviews:
    """The verdicts on the data of a run."""
    return Reviews(run.path, data_fingerprint(run))


def read_log(run: Run) -> ReviewLog:
    """The review as it is now, of what is in the run; a page that cannot read it stops here and says why."""
    try:
        log = _log(run, reviews_written(run))
    except TrakCoreError as error:
        st.error(f"The verdicts cannot be read: {told(error)}", icon=":material/error:")
        st.stop()
    return standing_log(run, log)


def log_as_of_now(run: Run) -> ReviewLog:
    """The review at this very moment, for downloads: these are made when they are clicked, long after the page.

    Raises:
        TrakCoreError: it cannot be read.
    """
    return standing_log(run, reviews_of(run).read())


@kept_per_run(max_entries=16)
def _log(run: Run, written: tuple[int, int, int] | None) -> ReviewLog:
    return reviews_of(run).read()


def choose_suspect(run: Run, queue: SuspectQueue, signal: str, wanted: SuspectFilter) -> int | None:
    """The suspect to look at: the next one after a verdict, else that of the address; None when none is left.

    In another queue, it is the first one there, unless what is looked at is in it too.
    """
    passed = st.session_state.pop(PASSED, None)
    held, asked = st.session_state.get(_QUEUE), (run.info.name, signal, replace(wanted, reviewer=""))
    st.session_state[_QUEUE] = asked
    is_other = held is not None and held != asked and held[0] == run.info.name
    is_elsewhere = is_other and st.session_state.get("train") not in queue.shown
    if passed is not None or is_elsewhere or (st.session_state.get("train") is None and "train" not in st.query_params):
        st.session_state["train"] = queue.after(passed)
        if st.session_state["train"] is None:
            with contextlib.suppress(StreamlitAPIException):  # a field that was there before empties the address itself
                st.query_params.pop("train", None)
    first = queue.after(None)
    instead = "None is picked." if first is None else f"This is number {first}."
    chosen = choose_train(run, instead, "none", width=140)
    return first if chosen is None else chosen


def progress_bar(queue: SuspectQueue, suspects: Suspects, log: ReviewLog) -> None:
    """How far the review is, how many labels were really wrong, and whether to go on."""
    words = f"{queue.n_reviewed:,} of {queue.n:,} reviewed"
    if queue.precision is not None:
        words += f", {queue.n_errors:,} of {queue.n_decided:,} judged were wrong"
    if suspects.n_likely is not None:
        are = "label of the run is" if suspects.n_likely == 1 else "labels of the run are"
        words += (
            f"; about {suspects.n_likely:,} {are} likely wrong"
            if suspects.n_likely
            else "; none is called likely wrong"
        )
    st.progress(queue.progress, text=words)
    note("progress", Words(words))
    if (advice := stop_advice(queue)) is not None:
        st.caption(f":material/{'flag' if advice.may_stop else 'arrow_forward'}: {advice.in_words}")
        note("advice", Words(advice.in_words))
    for n, what in (
        (log.n_of_other_data, "about other data"),
        (log.n_not_in_run, "on examples or classes that this run does not have"),
    ):
        if n:
            st.info(
                f"The review file also holds verdicts {what} ({n:,}). They are kept there, and nothing here counts or "
                "applies them.",
                icon=":material/history:",
            )
