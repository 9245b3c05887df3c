"""The before-and-after panel of the Label review page: what the review comes to, shown by retraining."""

import pandas as pd
import streamlit as st

from pages.components.address import go_to_train
from pages.components.charts import before_after_chart, show
from pages.components.gallery import MAX_ITEMS, GalleryItem, gallery, named
from pages.components.jobs import background_jobs, is_retraining
from pages.components.pages import EXPLORE, link_to
from pages.components.runs import kept_per_run, reviews_written
from pages.components.text import plain, shortened, told
from pages.components.view import Table, Words, note, say
from trak_core.errors import TrakCoreError
from trak_core.evidence.retraining import N_SEEDS, as_trial, why_labels_are_not_retrained
from trak_core.store.retrainings import Corrections, Retraining, RetrainingHistory
from trak_core.store.reviews import ReviewLog
from trak_core.store.run import Run
from trak_core.views.retraining import (
    ChangedTest,
    Reason,
    changed_table,
    changed_tests,
    corrections_of,
    gain_sentence,
    here_sentence,
    label_set_rows,
    models_sentence,
    nearest_retraining,
    second_sentence,
    why_changed,
)

SEEDS = (5, 10, 20, 50, 100)
_CHOSEN = "changed test"
"""Session key of the changed test example whose reasons are shown."""
_HELP = (
    "Models are trained on three sets of labels: as given; cleaned, with the new labels and without what was excluded; "
    "and as given without all that was found wrong. Models of one seed begin alike and see the same batches; what is "
    "removed keeps its place in its batches with weight 0. Intervals allow for other seeds and other test examples. "
    "Those of the accuracies overlap even where the difference is clear: all sets share seeds and test examples."
)


def before_after_panel(run: Run, log: ReviewLog) -> None:
    """The whole panel; the page puts it into a container of its choice."""
    st.markdown("**Before and after**", help=_HELP)
    corrections = corrections_of(run, log)
    try:
        history = _past(run, reviews_written(run))
    except TrakCoreError as error:
        st.error(f"What was retrained before cannot be read: {told(error)}", icon=":material/error:")
        history = []
    found = nearest_retraining(history, corrections)
    _controls(run, corrections, history)
    if found is not None:
        _outcome(run, corrections, found)


@kept_per_run(max_entries=16)
def _past(run: Run, written: tuple[int, int, int] | None) -> list[Retraining]:
    return RetrainingHistory(run.path).of_run(run.info.provenance["fingerprint"])


def _key(run: Run) -> str:
    return f"retrain {run.path}"


def _start(run: Run, n_seeds: int) -> None:
    background_jobs().start(_key(run), ["retrain", str(run.path), "--n-seeds", str(n_seeds)])


def _controls(run: Run, corrections: Corrections, history: list[Retraining]) -> None:
    """The button and the number of seeds, or the progress of what was started."""
    if is_retraining(_key(run)):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        place = st.container(width="content")
        n_seeds = st.selectbox(
            "Models on each set of labels",
            SEEDS,
            index=SEEDS.index(N_SEEDS),
            key="retraining_seeds",
            format_func=lambda n: f"{n} models each",
            label_visibility="collapsed",
            width=150,
        )
        reason = _why_not(run, corrections, n_seeds, history)
        place.button(
            "Retrain on the cleaned labels",
            icon=":material/science:",
            key="retrain_labels",
            on_click=_start,
            args=(run, n_seeds),
            disabled=bool(reason),
            help=told(reason)
            or f"Trains {n_seeds} models on each of three sets of labels, in the background; it takes seconds to "
            "minutes. You may go on reviewing meanwhile.",
        )
        if reason:
            st.caption(told(reason))


def _why_not(run: Run, corrections: Corrections, n_seeds: int, history: list[Retraining]) -> str:
    """Why there is nothing to retrain now, in a sentence; empty when there is."""
    if reason := why_labels_are_not_retrained(run):
        return reason
    if not corrections.wrong:
        return "No label was found wrong yet: relabel or exclude an example first."
    try:
        trial = as_trial(run, corrections, n_seeds)
    except TrakCoreError as error:
        return str(error)
    return "These very labels were retrained; see below." if any(one.trial == trial for one in history) else ""


def _outcome(run: Run, corrections: Corrections, found: Retraining) -> None:
    """What a retraining found: accuracies, the sentence, and the test examples that changed."""
    n_differing = found.trial.corrections.n_differing(corrections)
    if n_differing:
        examples = "training example has" if n_differing == 1 else "training examples have"
        st.info(
            f"The review has gone on since: {n_differing:,} {examples} another verdict than the labels that were "
            "retrained here.",
            icon=":material/history:",
        )
    changed, table = _changes(run, found.trial.retraining_id, found)
    figure, words = st.columns([2, 3])
    with figure:
        show(before_after_chart(label_set_rows(found)), "before_after_chart", "Test accuracy before and after")
    with words:
        st.markdown(f"**{gain_sentence(found)}**")  # words and numbers of ours, nothing from data
        more = f"{here_sentence(found)} {second_sentence(found)}".strip()
        st.text(more)
        note("before after: gain", Words(f"{gain_sentence(found)} {more}"))
        given = found.trial.corrections
        said = (
            f"{models_sentence(found)}; {len(given.relabelled):,} relabelled, "
            f"{len(given.excluded):,} excluded. Retrained on {found.asked_at:%d %b %Y, %H:%M} UTC."
        )
        say("before after: made of", said, st.caption)
        clicked = st.session_state.get(_CHOSEN)
        one = next((each for each in changed if each.example.idx == clicked), next(iter(changed), None))
        _changed_galleries(changed, one)
    if one is not None:
        _why(run, found, one)
    note("before after: changed", Table("Test examples that changed", table))


@kept_per_run(max_entries=16)
def _changes(run: Run, retraining_id: str, _found: Retraining) -> tuple[list[ChangedTest], pd.DataFrame]:
    """The test examples that changed, and a table of those that are shown."""
    changed = changed_tests(run, _found)
    fixed, broken = ([one for one in changed if one.came_right == right][:MAX_ITEMS] for right in (True, False))
    return changed, changed_table(run, _found, [*fixed, *broken])


@kept_per_run(max_entries=64)
def _reasons(run: Run, retraining_id: str, _found: Retraining, test_idx: int, _one: ChangedTest) -> list[Reason]:
    return why_changed(run, _found, _one)


def _changed_galleries(changed: list[ChangedTest], chosen: ChangedTest | None) -> None:
    for title, of_kind in (
        ("Fixed", [one for one in changed if one.came_right]),
        ("Broken", [one for one in changed if not one.came_right]),
    ):
        if not of_kind:
            st.caption(f"{title}: no test example.")
            continue
        first = f", the first {MAX_ITEMS} are shown" if len(of_kind) > MAX_ITEMS else ""
        st.markdown(f"{title}: {len(of_kind):,}{first}", help="By what most models say; a click tells why.")
        with st.container(height=250 if len(of_kind) > 16 else "content", border=False):
            gallery(
                f"{title} test examples",
                [_item(one) for one in of_kind],
                key=f"changed {title}",
                on_pick=_choose,
                selected=None if chosen is None else chosen.example.idx,
                size=56,
            )


def _choose(test_idx: int) -> None:
    st.session_state[_CHOSEN] = test_idx


def _item(one: ChangedTest) -> GalleryItem:
    before, after = shortened(one.answer_before, 12), shortened(one.answer_after, 12)
    return GalleryItem(
        one.example,
        f"{named(one.example)}: {one.answer_before} before, {one.answer_after} after; right in {one.n_right_before} "
        f"and then {one.n_right_after} of {one.n_models} models",
        caption=f"{before} → {after}",
        score=f"{one.change:+.2f}",
        side="proponent" if one.came_right else "opponent",
    )


def _why(run: Run, found: Retraining, one: ChangedTest) -> None:
    """The corrected train examples that had the strongest say in a changed test example."""
    did, had = ("was fixed", "against") if one.came_right else ("broke", "for")
    label = plain(shortened(one.example.label_name, 40))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**Why test example {one.example.idx} {did}:** these were found wrong, and as they were labelled they "
            f"spoke {had} “{label}”",
            help="Of the training examples that were relabelled or excluded, those with the strongest scores of the "
            "run's method, computed with the labels as given. A click opens one for review.",
        )
        link_to(EXPLORE, "Open in Explore", "search", run=run.info.name, test=one.example.idx)
    reasons = _reasons(run, found.trial.retraining_id, found, one.example.idx, one)
    if not reasons:
        st.caption(
            f"By the scores, none of them spoke {had} it: it changed through what the models learned as a whole, or by "
            "a narrow margin."
        )
        return
    gallery(
        f"Why test example {one.example.idx} {did}",
        [
            GalleryItem(
                reason.example,
                f"train example {reason.example.idx}, labelled {reason.example.label_name}, {reason.became}, score "
                f"{reason.score:+.2g}",
                caption=f"{shortened(reason.example.label_name, 12)}, {shortened(reason.became, 18)}",
                score=f"{reason.score:+.2g}",
                side="opponent" if one.came_right else "proponent",
            )
            for reason in reasons
        ],
        key="changed why",
        on_pick=go_to_train,
        size=80,
    )
