"""The panels of the Label review page: the suspect, the verdict keys, the evidence and the last verdicts."""

from collections.abc import Callable, Sequence
from typing import cast

import pandas as pd
import streamlit as st

from pages.components.address import go_to_train
from pages.components.gallery import GalleryItem, gallery
from pages.components.pages import EXPLORE, page_address
from pages.components.picks import MOST_IN_ADDRESS
from pages.components.review_queue import PASSED, reviews_of
from pages.components.text import plain, shortened
from pages.components.view import Picture, Pictures, Words, note
from trak_core.errors import TrakCoreError
from trak_core.store.reviews import LONGEST_NOTE, ReviewLog, Verdict, VerdictKind
from trak_core.store.run import Run
from trak_core.views import SuspectEvidence, SuspectQueue, Witness, class_keys, cleaned_labels, removal_list

__all__ = ["evidence_strip", "headline", "last_verdicts", "results", "suspect_card", "verdict_keys"]

N_LAST = 6
_PROBLEM = "review problem"


def headline(evidence: SuspectEvidence) -> None:
    """What is odd about the label, in a sentence."""
    given, other = evidence.example.label_name, evidence.suggested_name
    if evidence.models_disagree:
        title = f"This looks like “{other}”, and it is labelled “{given}”."
        said = (
            f"The models are {evidence.p_suggested:.0%} sure of “{other}” and {evidence.p_label:.0%} of “{given}”, "
            "although they were trained on that very label."
        )
    else:
        title = f"This is labelled “{given}”. Is it right?"
        said = "" if evidence.p_label is None else f"The models agree with the label, {evidence.p_label:.0%} sure"
        said += "." if said and other is None else f"; their next guess is “{other}”." if said else ""
    st.subheader(plain(title), anchor=False)
    st.text(said)
    note("headline", Words(f"{title} {said}"))


def suspect_card(evidence: SuspectEvidence, rank: str, log: ReviewLog) -> None:
    """The example, its labels, and what reviewers have said of it."""
    example = evidence.example
    with st.container(border=True, height="stretch"):
        if example.thumbnail:
            st.image(example.thumbnail, width=230, alt=f"train example {example.idx}")
        if example.text:
            st.text(example.text)
        st.text(f"Label: {example.label_name}\nSuggested: {evidence.suggested_name or 'none'}")
        st.caption(f"Train example {example.idx}{rank}")
        captions = (f"labelled {example.label_name}", f"suggested {evidence.suggested_name}")
        note("suspect", Pictures("The example", (Picture(example.thumbnail, example.text or "", captions),)))
        if example.idx in log.disputed:
            st.badge("disputed", color="orange", icon=":material/forum:", help="Reviewers differ; the last one counts.")
        for verdict in log.of(example.idx):
            st.text(f"{verdict.reviewer}: {says(verdict, evidence.names)}" + (f". {verdict.note}" * bool(verdict.note)))


def says(verdict: Verdict, names: Sequence[str]) -> str:
    if verdict.new_label is not None:
        return f"should be “{names[verdict.new_label]}”"
    return {"keep": "the label is right", "exclude": "exclude it", "unsure": "unsure"}[verdict.verdict]


def verdict_keys(run: Run, reviewer: str, evidence: SuspectEvidence, queue: SuspectQueue, log: ReviewLog) -> None:
    """The big buttons with their keys, and the note. What is pressed is recorded before the page is drawn again."""
    idx, given, other = evidence.example.idx, evidence.example.label, evidence.suggested_label

    def button(words: str, key: str, verdict: VerdictKind, label: int | None = None, **looks: object) -> None:
        # The number is part of the button's name: a second press in a hurry can never fall on the next example.
        st.button(
            words,
            key=f"{verdict}-{label}-{idx}-{key}",
            shortcut=key,
            on_click=_give,
            args=(run, idx, verdict, label, reviewer),
            width="stretch",
            **looks,  # type: ignore[arg-type]
        )

    if (problem := st.session_state.pop(_PROBLEM, None)) is not None:
        st.error(f"That was not recorded: {plain(problem)}", icon=":material/error:")
    with st.container(horizontal=True):
        given_name = plain(shortened(evidence.example.label_name, 24))
        button(f"Keep “{given_name}”", "Q", "keep", icon=":material/check:")
        if other is not None:
            suggestion = f"Take “{plain(shortened(evidence.names[other], 24))}”"
            button(suggestion, "W", "relabel", other, icon=":material/auto_fix_high:", type="primary")
        button("Exclude", "E", "exclude", icon=":material/delete:")
        button("Unsure", "N", "unsure", icon=":material/question_mark:")
    keys = class_keys(evidence.names)
    with st.container(horizontal=True, gap="xsmall"):
        for label, (name, key) in enumerate(zip(evidence.names, keys, strict=True)):
            if key is not None:
                as_it_is = label == given
                verdict: VerdictKind = "keep" if as_it_is else "relabel"
                button(plain(shortened(name, 18)), key, verdict, None if as_it_is else label, disabled=as_it_is)
        if None in keys:
            _further_classes(run, idx, given, reviewer, evidence.names, keys.index(None))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        last = log.last_by(reviewer)
        st.button(
            "Undo",
            shortcut="U",
            icon=":material/undo:",
            disabled=last is None,
            on_click=_undo,
            args=(run, last, reviewer),
            help="Takes back your last verdict, and shows that example again.",
        )
        _walk("Back", "K", ":material/chevron_left:", queue.step(idx, -1))
        _walk("Skip", "J", ":material/chevron_right:", queue.step(idx, 1))
        st.text_input(
            "Note",
            key=f"note-{idx}",
            max_chars=LONGEST_NOTE,
            placeholder="why? (Tab leaves the field, then the keys work again)",
            width="stretch",
        )


def _further_classes(run: Run, idx: int, given: int, reviewer: str, names: Sequence[str], first: int) -> None:
    labels = [label for label in range(first, len(names)) if label != given]
    key = f"class-{idx}"

    def take() -> None:
        if (label := st.session_state.get(key)) is not None:
            _give(run, idx, "relabel", label, reviewer)

    st.selectbox(
        "Another class",
        labels,
        index=None,
        key=key,
        format_func=lambda label: names[label],
        placeholder="another class",
        label_visibility="collapsed",
        on_change=take,
        width=200,
    )


def _walk(words: str, key: str, icon: str, goal: int | None) -> None:
    st.button(words, shortcut=key, icon=icon, disabled=goal is None, on_click=go_to_train, args=(goal,))


def _give(run: Run, train_idx: int, verdict: VerdictKind, new_label: int | None, reviewer: str) -> None:
    said = str(st.session_state.get(f"note-{train_idx}") or "").strip()
    try:
        reviews_of(run).record(train_idx, verdict, reviewer, new_label, said)
    except TrakCoreError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    st.session_state[PASSED] = train_idx


def _undo(run: Run, verdict: Verdict, reviewer: str) -> None:
    try:
        reviews_of(run).undo(verdict.verdict_id, reviewer)
    except TrakCoreError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    go_to_train(verdict.train_idx)


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


def _strip(run: Run, train_idx: int, title: str, help_text: str, witnesses: Sequence[Witness], side: str) -> None:
    st.markdown(title, help=help_text)
    if not witnesses:
        st.caption("None.")
        return
    of_tests = side in ("proponent", "opponent")
    kind, form = ("test", "+.2g") if of_tests else ("train", ".2f")
    gallery(
        f"{side}s" if of_tests else f"most alike, {side} label",
        [
            GalleryItem(
                witness.example,
                f"{kind} example {witness.example.idx}, label {witness.example.label_name}, {witness.value:{form}}",
                caption=witness.example.label_name,
                score=f"{witness.value:{form}}",
                side=side if of_tests else "",
            )
            for witness in witnesses
        ],
        key=f"review {side}",
        on_pick=go_to_train,
        link=(lambda idx: page_address(EXPLORE, run=run.info.name, test=idx, train=train_idx)) if of_tests else None,
        size=48,
    )


def last_verdicts(run: Run, log: ReviewLog, reviewer: str) -> None:
    """The last verdicts of everybody, each with its example one click away, and undo for one's own."""
    st.markdown("**Last verdicts**", help="Nothing is ever deleted: what is undone stays in the log as undone.")
    if not log.verdicts:
        st.caption("None yet.")
    for verdict in log.verdicts[: -N_LAST - 1 : -1]:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(
                f"#{verdict.train_idx}",
                key=f"look-{verdict.verdict_id}",
                on_click=go_to_train,
                args=(verdict.train_idx,),
                help="Look at it again",
            )
            given = run.info.class_names[run.label("train", verdict.train_idx)]
            words = f"“{given}”: {says(verdict, run.info.class_names)} ({verdict.reviewer}"
            words += f", {verdict.reviewed_at:%d %b %H:%M} UTC)" + (f" {verdict.note}" if verdict.note else "")
            with st.container(width="stretch"):
                st.text(f"{words} · undone" if verdict.is_undone else words)
            if verdict.reviewer == reviewer and not verdict.is_undone:
                st.button(
                    "Undo",
                    key=f"undo-{verdict.verdict_id}",
                    on_click=_undo,
                    args=(run, verdict, reviewer),
                )


def results(run: Run, log: ReviewLog) -> None:
    """What the review comes to: the labels to train on, and what to leave out."""
    st.markdown(
        "**What it comes to**",
        help="The last verdict on an example counts. What nobody reviewed, what was kept and what is unsure keeps its "
        "label; what is excluded has no new label.",
    )
    st.text(
        f"Labels that change: {len(log.relabelled):,}. Examples that go: {len(log.excluded):,}. "
        f"Disputed: {len(log.disputed):,}. There are {run.info.n_train:,} in all."
    )
    name = f"cleaned_labels_{run.info.name}"
    with st.container(horizontal=True):
        _download("Cleaned labels, CSV", f"{name}.csv", "text/csv", lambda: _csv(cleaned_labels(run, log)))
        _download(
            "Cleaned labels, Parquet",
            f"{name}.parquet",
            "application/vnd.apache.parquet",
            lambda: _parquet(cleaned_labels(run, log)),
        )
        _download(
            "Removal list, CSV",
            f"removal_list_{run.info.name}.csv",
            "text/csv",
            lambda: _csv(removal_list(run, log)),
        )
    if 0 < len(log.excluded) <= MOST_IN_ADDRESS:
        st.page_link(
            EXPLORE,
            label="What if the excluded were gone?",
            icon=":material/science:",
            query_params={"run": run.info.name, "picked": ".".join(map(str, log.excluded))},
        )


def _csv(table: pd.DataFrame) -> bytes:
    return str(table.to_csv(index=False)).encode()


def _parquet(table: pd.DataFrame) -> bytes:
    return cast(bytes, table.to_parquet(index=False))


def _download(words: str, file_name: str, mime: str, data: Callable[[], bytes]) -> None:
    st.download_button(words, data=data, file_name=file_name, mime=mime, on_click="ignore", icon=":material/download:")
