"""The what-if panel: picked train examples, what is predicted without them, and what retraining says."""

import pandas as pd
import streamlit as st

from pages.components.address import go_to_test
from pages.components.charts import show
from pages.components.gallery import MAX_ITEMS, GalleryItem, gallery
from pages.components.jobs import background_jobs, watch_job
from pages.components.kept import kept_per_run
from pages.components.picks import (
    MOST_IN_ADDRESS,
    clear_picks,
    pick_many,
    picked_train,
    picks_are_in_address,
    replace_picks,
    toggle_pick,
)
from pages.components.runs import test_overview
from pages.components.text import apart, plain
from pages.components.view import Words, note
from pages.components.what_if_chart import change_chart, history_chart
from pages.components.what_if_words import actual_sentence, history_sentence, predicted_sentence, trust_sentence
from trak_core.errors import TrakCoreError
from trak_core.evidence.what_if import N_SEEDS, as_question
from trak_core.store.files import RunFiles
from trak_core.store.run import Run
from trak_core.store.what_ifs import Question, Verified, WhatIfHistory
from trak_core.views.examples import read_examples, shows_texts
from trak_core.views.explanation import answer_target
from trak_core.views.what_if import history_table, predict_removal
from trak_core.views.what_if_scale import Known, Scale, default_factor, estimate_scale, known_removals, with_what_ifs

N_TOP = 10
MANY_IMAGES, MANY_TEXTS = 24, 6
"""Picks beyond which the gallery scrolls."""
_HELP = (
    "The scores of the picked training examples are added up and turned into a change of the margin, by a scale that "
    "was measured by retraining. Retraining itself then shows how the answer really changes: models are trained with "
    "and without them, each pair with the same initial weights and batches."
)


@kept_per_run(max_entries=32)
def _removals(run: Run, method: str) -> Known:
    return known_removals(run, method)


@st.cache_resource(max_entries=16, show_spinner=False)
def _history(path: str, changed: tuple[int, int], fingerprint: str, _run: Run) -> list[Verified]:
    return WhatIfHistory(_run.path).of_run(fingerprint)


@kept_per_run(max_entries=32)
def _scale_and_table(
    run: Run, changed: tuple[int, int], method: str, _history: list[Verified]
) -> tuple[Scale, pd.DataFrame]:
    """The scale of a method from all that is known, and the history, as it was at `changed`, as a table."""
    known = _removals(run, method)
    everything = with_what_ifs(known, run, method, _history) if _history else known
    return estimate_scale(everything, default_factor(run, method)), history_table(run, method, known, _history)


def _changed(run: Run) -> tuple[int, int]:
    """A value that changes when the history does."""
    try:
        status = RunFiles(run.path).reviews.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def _past(run: Run) -> list[Verified]:
    return _history(str(run.path), _changed(run), run.info.provenance["fingerprint"], run)


def what_if_panel(run: Run, test_idx: int, target: int | None, method: str) -> None:
    """The whole panel for one test example; the page puts it into a container of its choice.

    Args:
        run: that is looked at.
        test_idx: of the test example.
        target: that the page explains; None for the model's answer.
        method: whose scores predict.
    """
    st.markdown("**What if these training examples were gone?**", help=_HELP)
    idxs = picked_train(run)
    if target is None:
        target = answer_target(run, test_overview(run), test_idx, method)
    _basket(run, idxs, test_idx, target, method)
    try:
        history = _past(run)
    except TrakCoreError as error:
        st.error(f"The history of this run cannot be read: {plain(error)}", icon=":material/error:")
        history = []
    scale, table = _scale_and_table(run, _changed(run), method, history)
    if idxs:
        _question(run, idxs, test_idx, target, method, scale, history)
    if history:
        with st.expander(f"What was asked before ({len(history)})", key="what_if_history"):
            _show_history(history, table, test_idx)


def _basket(run: Run, idxs: list[int], test_idx: int, target: int, method: str) -> None:
    """The picks as a gallery, and the buttons that fill and empty it."""
    with st.container(horizontal=True):
        for title, icon, best in (
            (f"Top {N_TOP} proponents", ":material/arrow_drop_up:", run.proponents),
            (f"Top {N_TOP} opponents", ":material/arrow_drop_down:", run.opponents),
        ):
            st.button(
                title,
                icon=icon,
                on_click=lambda best=best: pick_many(best(test_idx, N_TOP, method, target)["train_idx"]),
                key=f"pick {title}",
            )
        st.button("Clear picks", icon=":material/close:", on_click=clear_picks, disabled=not idxs, key="clear_picks")
    if not idxs:
        st.caption("Nothing is picked yet: take the strongest ones, or pick examples on any page.")
        return
    items = [
        GalleryItem(
            example,
            f"picked train example {example.idx}, label {example.label_name}; click puts it back",
            caption=f"label {apart(example.label_name)}",
        )
        for example in read_examples(run, "train", idxs[:MAX_ITEMS])
    ]
    few = MANY_TEXTS if shows_texts(run) else MANY_IMAGES
    with st.container(height=260 if len(items) > few else "content", border=False):
        gallery("Picked training examples", items, key="picks", on_pick=toggle_pick, size=44)
    words = "1 is picked" if len(idxs) == 1 else f"{len(idxs):,} are picked"
    first = f", the first {MAX_ITEMS} are shown" if len(idxs) > MAX_ITEMS else ""
    kept = (
        ""
        if picks_are_in_address(idxs)
        else f" More than {MOST_IN_ADDRESS} do not fit into an address: they stay in this window, and a copied link "
        "leaves them out."
    )
    st.caption(f"{words}{first}; a click puts one back.{kept}")


def _question(
    run: Run,
    idxs: list[int],
    test_idx: int,
    target: int,
    method: str,
    scale: Scale,
    history: list[Verified],
) -> None:
    """What is predicted without the picks, the way to verify it, and what came out."""
    predicted = predict_removal(run, test_overview(run), test_idx, idxs, scale, method, target)
    say("what if: predicted", predicted_sentence(predicted))
    question, verified, problem = None, None, ""
    try:
        question = as_question(run, test_idx, idxs, N_SEEDS)
        verified = next((one for one in history if one.question == question), None)
    except TrakCoreError as error:
        problem = str(error)
    if verified is not None:
        say("what if: actual", actual_sentence(predicted, verified))
    if predicted.target.change is not None or verified is not None:
        show(change_chart(predicted, verified), "what_if", f"Predicted change of every class{_actual_words(verified)}")
    st.caption(trust_sentence(scale))
    note("what if: trust", Words(trust_sentence(scale)))
    if problem:
        st.info(plain(problem), icon=":material/info:")
    elif question is not None and verified is None:
        _verification(run, question)


def say(key: str, sentence: str) -> None:
    """A sentence on the page and in the file that is taken away."""
    st.text(sentence)
    note(key, Words(sentence))


def _actual_words(verified: Verified | None) -> str:
    return "" if verified is None else ", and the actual one with its 95% interval"


def _key(run: Run, question: Question) -> str:
    return f"what if {run.path} {question.what_if_id}"


def _start(run: Run, question: Question) -> None:
    arguments = ["what-if", str(run.path), "--test", str(question.test_idx), "--seeds", str(question.n_seeds)]
    removed = ",".join(map(str, question.removed))  # may be longer than an argument can be
    background_jobs().start(_key(run, question), [*arguments, "--remove", "-"], removed)


def _verification(run: Run, question: Question) -> None:
    """The button, or the progress of what it started."""
    status = background_jobs().status(_key(run, question))
    if status is not None and status.is_under_way:
        watch_job(background_jobs(), _key(run, question), "Retraining")
        return
    if status is not None and status.state == "failed":
        st.error(f"Retraining failed: {plain(status.message)}", icon=":material/error:")
    elif status is not None and status.state == "stopped":
        st.caption("Retraining was cancelled; nothing was kept of it.")
    st.button(
        "Verify by retraining",
        icon=":material/science:",
        on_click=_start,
        args=(run, question),
        key="verify_what_if",
        help=f"Trains {question.n_seeds} models with and {question.n_seeds} without them, in the background; it takes "
        "seconds to minutes. You may go on looking around meanwhile.",
    )


def _show_history(history: list[Verified], table: pd.DataFrame, test_idx: int) -> None:
    """All verified what-ifs of the run: predicted against actual, and a table whose rows open one again."""
    here = table[table["test example"] == test_idx]
    elsewhere = table.drop(here.index)
    st.caption(
        f"{history_sentence(len(table), len(here))} Changes are of the margin of the label; each is predicted by a "
        "scale that has not seen it. Choose a row to open it again."
    )
    if table["predicted"].notna().any():
        title = f"Predicted against actual change over {len(table)} verified what-ifs"
        show(history_chart(here, elsewhere, test_idx), "what_if_history_chart", title)
    table = pd.concat([here, elsewhere])

    def opened() -> None:
        rows = st.session_state["what_if_rows"].selection.rows
        if rows:
            question = history[table.index[rows[0]]].question
            go_to_test(question.test_idx)
            replace_picks(question.removed)

    st.dataframe(
        table,
        key="what_if_rows",
        on_select=opened,
        selection_mode="single-row",
        hide_index=True,
        column_config={
            **{name: st.column_config.NumberColumn(format="%+.2f") for name in ("predicted", "actual", "from", "to")},
            "answers changed": st.column_config.NumberColumn(format="percent"),
            "asked at": st.column_config.DatetimeColumn(format="D MMM, HH:mm"),
        },
    )
