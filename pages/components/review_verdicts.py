"""The verdicts of a review: the keys that give them, the last ones, and what they amount to."""

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import streamlit as st

from pages.components.address import go_to_train, walk_buttons
from pages.components.export import download_table
from pages.components.pages import EXPLORE, link_to
from pages.components.picks import MOST_IN_ADDRESS
from pages.components.review_queue import PASSED, log_as_of_now, reviews_of
from pages.components.runs import kept_per_run
from pages.components.text import plain, shortened, told
from trak_core.errors import TrakCoreError
from trak_core.store.reviews import LONGEST_NOTE, ReviewLog, Verdict, VerdictKind
from trak_core.store.run import Run
from trak_core.views.label_quality import planted_quality
from trak_core.views.review import SuspectQueue, class_keys, reviewers_in_words, suspect_signals
from trak_core.views.review_tables import cleaned_labels, removal_list
from trak_core.views.suspect_evidence import SuspectEvidence

N_LAST = 6
_MEASURES = {
    "AUROC": "Chance that a wrong label is ranked above a right one.",
    "Found in first 10%": "Share of the wrong labels among the first tenth.",
    "Found in first 20%": "Share of the wrong labels among the first fifth.",
    "Inspected for 95%": "Share of all labels to look at until 95% of the wrong ones are found.",
}
_PROBLEM = "review problem"
"""Session key of what could not be written by the last press."""


def show_problem() -> None:
    """Says, once, that the last press came to nothing; every page of the review does, whatever else it shows."""
    if (problem := st.session_state.pop(_PROBLEM, None)) is not None:
        st.error(told(problem), icon=":material/error:")
        st.toast(told(problem), icon=":material/error:")  # seen wherever the page is scrolled to


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
        walk_buttons(queue.step(idx, -1), queue.step(idx, 1), go_to_train, ("Back", "Skip"))
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


def says(verdict: Verdict, names: Sequence[str]) -> str:
    """What a verdict says, in a few words; `names` are those of the classes, not escaped."""
    if verdict.new_label is not None:
        return f"should be “{names[verdict.new_label]}”"
    return {"keep": "the label is right", "exclude": "exclude it", "unsure": "unsure"}[verdict.verdict]


def last_verdicts(run: Run, log: ReviewLog, reviewer: str) -> None:
    """The last verdicts of everybody, each with its example one click away, and undo for one's own."""
    st.markdown("**Last verdicts**", help="Nothing is ever deleted: what is undone stays in the log as undone.")
    if (reviewers := reviewers_in_words(log)) is not None:
        st.text(reviewers)
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
                st.button("Undo", key=f"undo-{verdict.verdict_id}", on_click=undo, args=(run, verdict, reviewer))


def results(run: Run, log: ReviewLog) -> None:
    """What the review amounts to: the labels to train on, and what to remove."""
    st.markdown(
        "**Summary**",
        help="The last verdict on an example counts. What nobody reviewed, what was kept and what is unsure keeps its "
        "label; what is excluded has no new label.",
    )
    counts = f"{len(log.relabelled):,} relabelled, {len(log.excluded):,} removed, {len(log.disputed):,} disputed"
    st.text(f"{counts} of {run.info.n_train:,}")
    labels, removed = f"cleaned_labels_{run.info.name}", f"removal_list_{run.info.name}"
    with st.container(horizontal=True):
        for title, file_name, table in (
            ("Cleaned labels, CSV", f"{labels}.csv", cleaned_labels),
            ("Cleaned labels, Parquet", f"{labels}.parquet", cleaned_labels),
            ("Removal list, CSV", f"{removed}.csv", removal_list),
        ):
            download_table(title, file_name, partial(_as_of_now, table, run))
    if 0 < len(log.excluded) <= MOST_IN_ADDRESS:
        link_to(
            EXPLORE,
            "What if the excluded were gone?",
            "science",
            run=run.info.name,
            picked=".".join(map(str, log.excluded)),
        )


_planted_quality = kept_per_run(max_entries=4)(planted_quality)


def _as_of_now(table: Callable[[Run, ReviewLog], pd.DataFrame], run: Run) -> pd.DataFrame:
    return table(run, log_as_of_now(run))


def planted_errors(run: Run) -> None:
    """How well each signal finds the labels that were made wrong on purpose; nothing where none were."""
    found = _planted_quality(run)
    if found is None:
        return
    titles, some = suspect_signals(run), next(iter(found.values()))
    with st.expander("Planted errors", icon=":material/science:"):
        st.caption(
            f"{some.n_wrong:,} of {some.n:,} labels were made wrong when the run was built, so that finding them can "
            "be measured. The queue does not know which."
        )
        rows = [
            (
                titles[name],
                f"{q.auroc:.3f}",
                f"{q.recall_at_10:.0%}",
                f"{q.recall_at_20:.0%}",
                f"{q.inspected_for_95:.0%}",
            )
            for name, q in found.items()
        ]
        st.dataframe(
            pd.DataFrame(rows, columns=["Signal", *_MEASURES]),
            hide_index=True,
            column_config={
                name: st.column_config.TextColumn(help=help_text, alignment="right")
                for name, help_text in _MEASURES.items()
            },
        )
