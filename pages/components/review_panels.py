"""One suspect on the Label review page: what is odd about it, and what speaks for and against its label."""

from collections.abc import Sequence

import streamlit as st

from pages.components.address import go_to_train
from pages.components.gallery import GalleryItem, gallery
from pages.components.media import show_media
from pages.components.pages import EXPLORE, page_address
from pages.components.review_results import says
from pages.components.text import plain
from pages.components.view import Card, Cards, Words, note
from trak_core.store.reviews import ReviewLog
from trak_core.store.run import Run
from trak_core.views.examples import ScoredExample
from trak_core.views.findings import ExampleFinding, findings_of
from trak_core.views.review import Suspects
from trak_core.views.suspect_evidence import SuspectEvidence

_LIKELY_HELP = "So much speaks against the label that it is called wrong. Look at it before you believe that."


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
            f"The models are {evidence.p_top:.0%} sure of “{evidence.names[evidence.top_label]}” and "
            f"{evidence.p_label:.0%} of “{given}”, although they were trained on that very label."
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
        place = int(suspects.place[example.idx]) + 1
        by = "" if sure is None else ". Suggested by models that were not told its label"
        st.caption(f"Train example {example.idx}, number {place:,} by this signal{by}")
        captions = (f"labelled {example.label_name}", f"suggested {suggested}")
        note("suspect", Cards("The example", (Card(example.media, captions),)))
        odd = findings_of(run, example.idx)
        with st.container(horizontal=True, gap="xsmall"):
            if suspects.is_likely(example.idx):
                st.badge("likely wrong", color="red", icon=":material/report:", help=_LIKELY_HELP)
            if example.idx in log.disputed:
                help_text = "Reviewers differ; the last one counts."
                st.badge("disputed", color="orange", icon=":material/forum:", help=help_text)
            for finding in odd:
                st.badge(plain(finding.name), color="orange" if finding.differs else "blue", help=finding.help)
        for finding in odd:
            _pair(run, example.idx, finding)
        for verdict in log.of(example.idx):
            st.text(f"{verdict.reviewer}: {says(verdict, evidence.names)}" + (f". {verdict.note}" * bool(verdict.note)))


def _pair(run: Run, train_idx: int, finding: ExampleFinding) -> None:
    """What else is odd in words, and the other example of a pair, one click away."""
    note(f"odd {finding.kind}", Words(finding.words))
    if finding.other is None:
        return
    st.text(finding.words[0].upper() + finding.words[1:])
    of_test = finding.other.split == "test"
    gallery(
        finding.name,
        [GalleryItem(finding.other, finding.words, caption=finding.other.label_name)],
        key=f"review odd {finding.kind}",
        on_pick=go_to_train,
        link=(lambda idx: page_address(EXPLORE, run=run.info.name, test=idx, train=train_idx)) if of_test else None,
        size=64,
    )


def evidence_strip(run: Run, evidence: SuspectEvidence) -> None:
    """Whom the example moves among the test examples, and what looks like it under either label."""
    given, other = evidence.example.label_name, evidence.suggested_name
    left, right = st.columns(2)
    with left:
        _strip(
            run,
            evidence.example.idx,
            ":orange[▼] **Makes the models less sure** of these test examples",
            "Test examples that it is an opponent of. Those of its own label speak against the label.",
            evidence.hurts,
            "opponent",
        )
        _strip(
            run,
            evidence.example.idx,
            f"**Most alike, labelled “{plain(given)}”**",
            _ALIKE_HELP,
            evidence.like_given,
            "given",
        )
    with right:
        _strip(
            run,
            evidence.example.idx,
            ":blue[▲] **Makes them more sure** of these",
            "Test examples that it is a proponent of. Those that look like it and have its label speak for the label.",
            evidence.helps,
            "proponent",
        )
        if other is not None:
            _strip(
                run,
                evidence.example.idx,
                f"**Most alike, labelled “{plain(other)}”**",
                _ALIKE_HELP,
                evidence.like_suggested,
                "suggested",
            )


_ALIKE_HELP = (
    "Train examples that the model learns from most alike: by the angle between stored gradients, whichever way they "
    "point, because another label turns a gradient around."
)


def _strip(run: Run, train_idx: int, title: str, help_text: str, scored: Sequence[ScoredExample], side: str) -> None:
    st.markdown(title, help=help_text)
    if not scored:
        st.caption("None.")
        return
    of_tests = side in ("proponent", "opponent")
    kind, form = ("test", "+.2g") if of_tests else ("train", ".2f")
    gallery(
        f"{side}s" if of_tests else f"most alike, {side} label",
        [
            GalleryItem(
                one.example,
                f"{kind} example {one.example.idx}, label {one.example.label_name}, {one.score:{form}}",
                caption=one.example.label_name,
                score=f"{one.score:{form}}",
                side=side if of_tests else "",
            )
            for one in scored
        ],
        key=f"review {side}",
        on_pick=go_to_train,
        link=(lambda idx: page_address(EXPLORE, run=run.info.name, test=idx, train=train_idx)) if of_tests else None,
        size=48,
    )
