"""Label review: training examples whose label looks wrong, worst first, and what reviewers say of them."""

import streamlit as st

from pages.components.before_after import before_after_panel
from pages.components.export import take_away
from pages.components.pages import EXPLORE
from pages.components.review_keys import show_problem, undo_button, verdict_keys
from pages.components.review_panels import evidence_strip, headline, suspect_card
from pages.components.review_queue import choose_queue, choose_suspect, log_as_of_now, progress_bar, read_log
from pages.components.review_results import last_verdicts, planted_errors, results
from pages.components.routing import through_app
from pages.components.runs import current_run, feature_directions, is_busy, refresh_when_published
from pages.components.view import Words, note
from trak_core.store.reviews import ReviewLog
from trak_core.store.run import Run
from trak_core.views.review import (
    SuspectFilter,
    SuspectQueue,
    Suspects,
    command_to_go_on,
    find_suspects,
    only_given_label,
    suspect_signals,
    why_no_suspects,
)
from trak_core.views.review_tables import verdict_table
from trak_core.views.suspect_evidence import suspect_evidence

through_app()


def without_suspects(run: Run) -> None:
    """What a page without a queue says, and what to do about it."""
    if is_busy(run) and only_given_label(run) is None:
        st.subheader("No suspects yet", anchor=False)
        st.write("The run is still being built. Labels that look wrong appear here a little after its first scores.")
        refresh_when_published(run)
    else:
        st.subheader("This run has no suspects", anchor=False)
        why = why_no_suspects(run)
        st.text(f"{why[0].upper()}{why[1:]}")
        if (command := command_to_go_on(run)) is not None:
            st.code(command, language="bash")
        st.page_link(EXPLORE, label="Open in Explore", icon=":material/search:", query_params={"run": run.info.name})


def review_one(run: Run, train_idx: int, suspects: Suspects, queue: SuspectQueue, log: ReviewLog, me: str) -> None:
    """One suspect: what is odd, the keys, and the evidence."""
    evidence = suspect_evidence(run, feature_directions(run), train_idx, suspects.suggested_label(train_idx))
    with top:
        headline(evidence, suspects.is_likely(train_idx))
    card, keys = st.columns([1, 3.4])
    with card:
        suspect_card(run, evidence, suspects, log)
    with keys, st.container(border=True, height="stretch"):
        verdict_keys(run, me, evidence, queue, log)
        evidence_strip(run, evidence)


def nothing_left(run: Run, queue: SuspectQueue, log: ReviewLog, wanted: SuspectFilter) -> None:
    """What is said when the queue is walked through, and the way back."""
    with top:
        done = queue.n_reviewed == queue.n > 0
        said = "Every suspect in this queue is reviewed." if done else f"No suspect here is “{wanted.show}”."
        said = "This queue is empty." if queue.n == 0 else said
        st.subheader("Done" if done else "Nothing to show", anchor=False)
        st.text(f"{said} Choose a longer queue, another signal or another class, or take the result away below.")
        note("headline", Words(said))
        undo_button(run, wanted.reviewer, log)


run = current_run()
if not run.info.has_classes or only_given_label(run) is not None or not suspect_signals(run):
    without_suspects(run)
    st.stop()
top = st.container(gap="xsmall")
suspects, wanted, signal, row = choose_queue(run)
with top:
    show_problem()
log = read_log(run)
queue = find_suspects(suspects, run.train_labels, log, wanted)
with row:
    train_idx = choose_suspect(run, queue, signal, wanted)
progress_bar(queue, suspects, log)
if train_idx is None:
    nothing_left(run, queue, log, wanted)
else:
    review_one(run, train_idx, suspects, queue, log, wanted.reviewer)
verdicts, outcome = st.columns([3, 2])
with verdicts, st.container(border=True, height="stretch"):
    last_verdicts(run, log, wanted.reviewer)
with outcome, st.container(border=True, height="stretch"):
    results(run, log)
with st.container(border=True):
    before_after_panel(run, log)
planted_errors(run)
take_away(
    f"review_{run.info.name}",
    f"{run.info.name}: label review",
    lambda: verdict_table(run, log_as_of_now(run)),
    run=run.info.name,
    signal=signal,
    train=train_idx,
    reviewer=None,  # whoever is sent the link is somebody else
)
