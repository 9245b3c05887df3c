"""Label review: training examples whose label looks wrong, worst first, and what reviewers say of them."""

from collections.abc import Sequence

import streamlit as st

from pages.components.address import go_to_train
from pages.components.before_after import before_after_panel
from pages.components.cards import show_origin
from pages.components.cleaned_data import cleaned_data_panel
from pages.components.export import take_away
from pages.components.gallery import GalleryItem, gallery, named
from pages.components.learnt import learnt_warning
from pages.components.media import show_media
from pages.components.pages import EXPLORE, link_to, page_address
from pages.components.review_queue import choose_queue, choose_suspect, log_as_of_now, progress_bar, read_log
from pages.components.review_verdicts import (
    last_verdicts,
    planted_errors,
    results,
    says,
    show_problem,
    undo_button,
    verdict_keys,
)
from pages.components.routing import through_app
from pages.components.runs import (
    command_of,
    current_run,
    feature_directions,
    go_on_button,
    is_busy,
    refresh_when_published,
)
from pages.components.text import plain
from pages.components.view import Card, Cards, Words, note
from trak_core.store.progress import read_status
from trak_core.store.reviews import ReviewLog
from trak_core.store.run import Run
from trak_core.views.examples import ScoredExample
from trak_core.views.findings import ExampleFinding, findings_of
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
from trak_core.views.suspect_evidence import SuspectEvidence, suspect_evidence

through_app()

LIKELY_HELP = "So much speaks against the label that it is called wrong. Look at it before you believe that."
SIMILAR_HELP = (
    "Train examples whose stored gradients have the smallest angle to those of this one, whichever way they point, "
    "because another label turns a gradient around."
)


def headline(evidence: SuspectEvidence, is_likely: bool) -> None:
    """What is odd about the label, in a sentence; `is_likely` where the label is likely wrong."""
    given, other = evidence.example.label_name, evidence.suggested_name
    if is_likely and other is not None:
        title = f"This looks like “{other}”, and it is labelled “{given}”."
    elif evidence.models_disagree and evidence.top_label is not None:
        title = f"This looks like “{evidence.names[evidence.top_label]}”, and it is labelled “{given}”."
    else:
        title = f"This is labelled “{given}”. Is it right?"
    if evidence.p_label is None or evidence.top_label is None:
        said = ""
    elif evidence.models_disagree:
        said = (
            f"The models give “{evidence.names[evidence.top_label]}” {evidence.p_top:.0%} and “{given}” only "
            f"{evidence.p_label:.0%}, even after training on this label."
        )
    else:
        yet = ", and yet it is likely wrong" if is_likely else ""
        said = f"The models agree with the label that they were trained on, {evidence.p_label:.0%} sure{yet}."
    st.subheader(plain(title), anchor=False)
    st.text(said)
    note("headline", Words(f"{title} {said}"))


def suspect_card(run: Run, evidence: SuspectEvidence, suspects: Suspects, log: ReviewLog) -> None:
    """The example, its labels, what else is odd about it, and what reviewers have said of it."""
    example = evidence.example
    sure = suspects.suggested_confidence(example.idx)
    suggested = f"{evidence.suggested_name or 'none'}" + ("" if sure is None else f", {sure:.0%} sure")
    with st.container(border=True, height="stretch"):
        show_media(example.media, 230, f"train example {example.idx}")
        st.text(f"Label: {example.label_name}\nSuggested: {suggested}")
        show_origin(example)
        place = int(suspects.place[example.idx]) + 1
        by = "" if sure is None else ". Suggested by models that were not told its label"
        st.caption(f"Train example {example.idx}, number {place:,} by this signal{by}")
        from_where = () if example.origin is None else (example.origin,)
        captions = (f"labelled {example.label_name}", f"suggested {suggested}", *from_where)
        note("suspect", Cards("The example", (Card(example.media, captions),)))
        odd = findings_of(run, example.idx)
        with st.container(horizontal=True, gap="xsmall"):
            if suspects.is_likely(example.idx):
                st.badge("likely wrong", color="red", icon=":material/report:", help=LIKELY_HELP)
            if example.idx in log.disputed:
                help_text = "Reviewers differ; the last one counts."
                st.badge("disputed", color="orange", icon=":material/forum:", help=help_text)
            for finding in odd:
                st.badge(plain(finding.name), color="orange" if finding.differs else "blue", help=finding.help)
        for finding in odd:
            show_pair(run, example.idx, finding)
        for verdict in log.of(example.idx):
            why = f". {verdict.note}" if verdict.note else ""
            st.text(f"{verdict.reviewer}: {says(verdict, evidence.names)}{why}")


def show_pair(run: Run, train_idx: int, finding: ExampleFinding) -> None:
    """What else is odd in words, and the other example of a pair, one click away."""
    note(f"odd {finding.kind}", Words(finding.words))
    if finding.other is None:
        return
    st.text(finding.words[0].upper() + finding.words[1:])
    href = None
    if finding.other.split == "test":
        href = page_address(EXPLORE, run=run.info.name, test=finding.other.idx, train=train_idx)
    item = GalleryItem(finding.other, finding.words, caption=finding.other.label_name, href=href)
    gallery(finding.name, [item], key=f"review odd {finding.kind}", on_pick=go_to_train, size=64)


def evidence_strip(run: Run, evidence: SuspectEvidence) -> None:
    """Whom the example moves among the test examples, and what looks like it under either label."""
    if not run.has_scores:
        st.caption("Which test examples it moves, and what looks like it, is told once the run has scores.")
        return
    train_idx, given, other = evidence.example.idx, evidence.example.label_name, evidence.suggested_name
    left, right = st.columns(2)
    with left:
        tip = "Test examples that it is an opponent of. Those of its own label speak against the label."
        st.markdown(":orange[▼] **Makes the models less sure** of these test examples", help=tip)
        strip(run, train_idx, evidence.hurts, "opponent")
        st.markdown(f"**Most similar, labelled “{plain(given)}”**", help=SIMILAR_HELP)
        strip(run, train_idx, evidence.like_given, "given")
    with right:
        tip = "Test examples that it is a proponent of. Those that look like it and have its label speak for the label."
        st.markdown(":blue[▲] **Makes them more sure** of these", help=tip)
        strip(run, train_idx, evidence.helps, "proponent")
        if other is not None:
            st.markdown(f"**Most similar, labelled “{plain(other)}”**", help=SIMILAR_HELP)
            strip(run, train_idx, evidence.like_suggested, "suggested")


def strip(run: Run, train_idx: int, scored: Sequence[ScoredExample], side: str) -> None:
    """Test examples that a train example moves, or the train examples with one label that are most similar to it."""
    if not scored:
        st.caption("None.")
        return
    of_tests = side in ("proponent", "opponent")
    form = "+.2g" if of_tests else ".2f"
    gallery(
        f"{side}s" if of_tests else f"most similar, {side} label",
        [
            GalleryItem(
                one.example,
                f"{named(one.example)}, {one.score:{form}}",
                caption=one.example.label_name,
                score=f"{one.score:{form}}",
                side=side if of_tests else "",
                href=page_address(EXPLORE, run=run.info.name, test=one.example.idx, train=train_idx)
                if of_tests
                else None,
            )
            for one in scored
        ],
        key=f"review {side}",
        on_pick=go_to_train,
        size=48,
    )


def without_suspects(run: Run) -> None:
    """What a page without a queue says, and what to do about it."""
    if is_busy(run) and only_given_label(run) is None:
        st.subheader("No suspects yet", anchor=False)
        st.write("The run is still being built. Labels that look wrong appear here first of all.")
        refresh_when_published(run)
    else:
        st.subheader("This run has no suspects", anchor=False)
        why = why_no_suspects(run)
        st.text(f"{why[0].upper()}{why[1:]}")
        if command_to_go_on(run) is not None and (command := command_of(run.path, read_status(run.path))):
            go_on_button(run.path, command)
        link_to(EXPLORE, "Open in Explore", "search", run=run.info.name)


def review_one(run: Run, train_idx: int, suspects: Suspects, queue: SuspectQueue, log: ReviewLog, me: str) -> None:
    """One suspect: what is odd, the keys, and the evidence."""
    space = feature_directions(run) if run.has_scores else None
    evidence = suspect_evidence(run, space, train_idx, suspects.suggested_label(train_idx))
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
learnt_warning(run)
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
cleaned_data_panel(run, log)
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
if not run.has_scores:
    refresh_when_published(run)
