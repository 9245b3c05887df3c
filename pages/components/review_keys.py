"""The keys of the Label review page: what is pressed is recorded before the page is drawn again."""

from collections.abc import Sequence

import streamlit as st

from pages.components.address import go_to_train
from pages.components.review_queue import PASSED, reviews_of
from pages.components.text import plain, shortened
from trak_core.errors import TrakCoreError
from trak_core.store.reviews import LONGEST_NOTE, ReviewLog, Verdict, VerdictKind
from trak_core.store.run import Run
from trak_core.views.review import SuspectQueue, class_keys
from trak_core.views.suspect_evidence import SuspectEvidence

_PROBLEM = "review problem"
"""Session key of what could not be written by the last press."""


def show_problem() -> None:
    """Says, once, that the last press came to nothing; every page of the review does, whatever else it shows."""
    if (problem := st.session_state.pop(_PROBLEM, None)) is not None:
        st.error(plain(problem), icon=":material/error:")
        st.toast(plain(problem), icon=":material/error:")  # seen wherever the page is scrolled to


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
        undo_button(run, reviewer, log)
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
        # Emptied at once: the same class can be chosen again where it could not be written.
        label, st.session_state[key] = st.session_state.get(key), None
        if label is not None:
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


def undo_button(run: Run, reviewer: str, log: ReviewLog) -> None:
    """Undo with its key, for the last verdict of a reviewer."""
    last = log.last_by(reviewer)
    st.button(
        "Undo",
        # The verdict is part of the button's name, so that a second press in a hurry takes back no other.
        key=f"undo-last-{None if last is None else last.verdict_id}",
        shortcut="U",
        icon=":material/undo:",
        disabled=last is None,
        on_click=undo,
        args=(run, last, reviewer),
        help="Takes back your last verdict, and shows that example again.",
    )


def _walk(words: str, key: str, icon: str, goal: int | None) -> None:
    st.button(words, shortcut=key, icon=icon, disabled=goal is None, on_click=go_to_train, args=(goal,))


def _give(run: Run, train_idx: int, verdict: VerdictKind, new_label: int | None, reviewer: str) -> None:
    said = str(st.session_state.get(f"note-{train_idx}") or "").strip()
    try:
        reviews_of(run).record(train_idx, verdict, reviewer, new_label, said)
    except TrakCoreError as error:
        st.session_state[_PROBLEM] = f"That was not recorded: {error}"
        return
    st.session_state[PASSED] = train_idx


def undo(run: Run, verdict: Verdict, reviewer: str) -> None:
    """Takes a verdict back and shows its example again; for callbacks."""
    try:
        reviews_of(run).undo(verdict.verdict_id, reviewer)
    except TrakCoreError as error:
        st.session_state[_PROBLEM] = f"The verdict was not taken back: {error}"
        return
    go_to_train(verdict.train_idx)
