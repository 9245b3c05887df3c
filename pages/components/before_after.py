"""The before-and-after panel of the Label review page: what the review comes to, shown by retraining."""

import streamlit as st

from pages.components.address import go_to_train
from pages.components.before_after_chart import before_after_chart
from pages.components.charts import show
from pages.components.gallery import MAX_ITEMS, GalleryItem, gallery
from pages.components.jobs import background_jobs, watch_job
from pages.components.kept import kept_per_run
from pages.components.pages import EXPLORE
from pages.components.text import plain, shortened
from pages.components.view import Table, Words, note
from trak_core.errors import TrakCoreError
from trak_core.evidence.retraining import N_SEEDS, as_trial, why_labels_are_not_retrained
from trak_core.store.files import RunFiles
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
    "left out keeps its place in its batches with weight 0. Intervals allow for other seeds and other test examples. "
    "Those of the accuracies overlap even where the difference is clear: all sets share seeds and test examples."
)


def before_after_panel(run: Run, log: ReviewLog) -> None:
    """The whole panel; the page puts it into a container of its choice.

    Args:
        run: whose labels are reviewed.
        log: of the review.
    """
    st.markdown("**Before and after**", help=_HELP)
    corrections = corrections_of(run, log)
    try:
        history = _past(run)
    except TrakCoreError as error:
        st.error(f"What was retrained before cannot be read: {plain(error)}", icon=":material/error:")
        history = []
    found = nearest_retraining(history, corrections)
    _controls(run, corrections, history)
    if found is not None:
        _outcome(run, corrections, found)


def _past(run: Run) -> list[Retraining]:
    try:
        status = RunFiles(run.path).reviews.stat()
    except OSError:
        return []
    return _history(str(run.path), (status.st_mtime_ns, status.st_size), run.info.provenance["fingerprint"], run)


@st.cache_resource(max_entries=16, show_spinner=False)
def _history(path: str, changed: tuple[int, int], fingerprint: str, _run: Run) -> list[Retraining]:
    return RetrainingHistory(_run.path).of_run(fingerprint)


def _key(run: Run) -> str:
    return f"retrain {run.path}"


def _start(run: Run, n_seeds: int) -> None:
    background_jobs().start(_key(run), ["retrain", str(run.path), "--n-seeds", str(n_seeds)])


def _controls(run: Run, corrections: Corrections, history: list[Retraining]) -> None:
    """The button and the number of seeds, or the progress of what was started."""
    status = background_jobs().status(_key(run))
    if status is not None and status.is_under_way:
        watch_job(background_jobs(), _key(run), "Retraining")
        return
    if status is not None and status.state == "failed":
        st.error(f"Retraining failed: {plain(status.message)}", icon=":material/error:")
    elif status is not None and status.state == "stopped":
        st.caption("Retraining was cancelled; nothing was kept of it.")
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
            help=plain(reason)
            or f"Trains {n_seeds} models on each of three sets of labels, in the background; it takes seconds to "
            "minutes. You may go on reviewing meanwhile.",
        )
        if reason:
            st.caption(plain(reason))


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
    changed = _changed(run, found.trial.retraining_id, found)
    figure, words = st.columns([2, 3])
    with figure:
        show(before_after_chart(label_set_rows(found)), "before_after_chart", "Test accuracy before and after")
    with words:
        st.markdown(f"**{gain_sentence(found)}**")  # words and numbers of ours, nothing from data
        more = f"{here_sentence(found)} {second_sentence(found)}".strip()
        st.text(more)
        note("before after: gain", Words(f"{gain_sentence(found)} {more}"))
        said = _made_of(found)
        st.caption(said)
        note("before after: made of", Words(said))
        one = _chosen(changed)
        _changed_galleries(changed, one)
    if one is not None:
        _why(run, found, one)
    note("before after: changed", Table("Test examples that changed", _table(run, found.trial.retraining_id, found)))


def _made_of(found: Retraining) -> str:
    given = found.trial.corrections
    return (
        f"{models_sentence(found)}; {len(given.relabelled):,} relabelled, "
        f"{len(given.excluded):,} excluded. Retrained on {found.asked_at:%d %b %Y, %H:%M} UTC."
    )


@kept_per_run(max_entries=16)
def _changed(run: Run, retraining_id: str, _found: Retraining) -> list[ChangedTest]:
    return changed_tests(run, _found)


@kept_per_run(max_entries=16)
def _table(run: Run, retraining_id: str, _found: Retraining) -> object:
    changed = changed_tests(run, _found)
    came, went = ([one for one in changed if one.came_right == right][:MAX_ITEMS] for right in (True, False))
    return changed_table(run, _found, [*came, *went])


@kept_per_run(max_entries=64)
def _reasons(run: Run, retraining_id: str, _found: Retraining, test_idx: int, _one: ChangedTest) -> list[Reason]:
    return why_changed(run, _found, _one)


def _chosen(changed: list[ChangedTest]) -> ChangedTest | None:
    """The changed test example that was clicked last, else the first; None where nothing changed."""
    clicked = st.session_state.get(_CHOSEN)
    return next((one for one in changed if one.example.idx == clicked), next(iter(changed), None))


def _changed_galleries(changed: list[ChangedTest], chosen: ChangedTest | None) -> None:
    for title, of_kind in (
        ("Came right", [one for one in changed if one.came_right]),
        ("Went wrong", [one for one in changed if not one.came_right]),
    ):
        if not of_kind:
            st.caption(f"{title}: no test example.")
            continue
        first = f", the first {MAX_ITEMS} are shown" if len(of_kind) > MAX_ITEMS else ""
        st.markdown(f"{title}: {len(of_kind):,}{first}", help="By what most models say; a click tells why.")
        with st.container(height=250 if len(of_kind) > 16 else "content", border=False):
            gallery(
                f"Test examples that {title.lower()}",
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
        f"test example {one.example.idx}, label {one.example.label_name}: {one.answer_before} before, "
        f"{one.answer_after} after; right in {one.n_right_before} and then {one.n_right_after} of {one.n_models} "
        "models",
        caption=f"{before} → {after}",
        score=f"{one.change:+.2f}",
        side="proponent" if one.came_right else "opponent",
    )


def _why(run: Run, found: Retraining, one: ChangedTest) -> None:
    """The mended train examples that had the strongest say in a changed test example."""
    did, had = ("came right", "against") if one.came_right else ("went wrong", "for")
    label = plain(shortened(one.example.label_name, 40))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**Why test example {one.example.idx} {did}:** these were found wrong, and as they were labelled they "
            f"spoke {had} “{label}”",
            help="Of the training examples that were relabelled or left out, those with the strongest scores of the "
            "run's method, computed with the labels as given. A click opens one for review.",
        )
        st.page_link(
            EXPLORE,
            label="Open in Explore",
            icon=":material/search:",
            query_params={"run": run.info.name, "test": str(one.example.idx)},
        )
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
