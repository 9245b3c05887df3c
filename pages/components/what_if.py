"""The what-if panel: picked train examples, what is predicted without them, and what retraining says."""

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from pages.components.address import go_to_test
from pages.components.charts import change_chart, history_chart, show
from pages.components.gallery import MAX_ITEMS, GalleryItem, caption_of, gallery, named
from pages.components.jobs import background_jobs, is_retraining
from pages.components.picks import MOST_IN_ADDRESS, clear_picks, pick_many, picked_train, replace_picks, toggle_pick
from pages.components.runs import kept_per_run, reviews_written, test_overview
from pages.components.text import told
from pages.components.view import say
from trak_core.errors import TrakCoreError
from trak_core.evidence.what_if import N_SEEDS, as_question
from trak_core.store.ranking import SIDES, strongest
from trak_core.store.run import Run
from trak_core.store.what_ifs import Question, Verified, WhatIfHistory
from trak_core.views.answer_words import raised
from trak_core.views.examples import read_examples, shows_texts
from trak_core.views.explanation import answer_target
from trak_core.views.what_if import Prediction, history_table, predict_removal
from trak_core.views.what_if_scale import Scale, default_factor, estimate_scale, known_removals, with_what_ifs

N_TOP = 10
MANY_IMAGES, MANY_TEXTS = 24, 6
"""Picks beyond which the gallery scrolls."""
_HELP = (
    "The scores of the picked training examples are added up and turned into a change of the margin, by a scale that "
    "was measured by retraining. Retraining itself then shows how the answer really changes: models are trained with "
    "and without them, each pair with the same initial weights and batches."
)


_removals = kept_per_run(max_entries=32)(known_removals)


@kept_per_run(max_entries=16)
def _past(run: Run, written: tuple[int, int, int] | None) -> list[Verified]:
    return WhatIfHistory(run.path).of_run(run.info.provenance["fingerprint"])


@kept_per_run(max_entries=32)
def _scale_and_table(
    run: Run, written: tuple[int, int, int] | None, method: str, _history: list[Verified]
) -> tuple[Scale, pd.DataFrame]:
    """The scale of a method from all that is known, and the history, as it was `written`, as a table."""
    known = _removals(run, method)
    everything = with_what_ifs(known, run, method, _history) if _history else known
    return estimate_scale(everything, default_factor(run, method)), history_table(run, method, known, _history)


def what_if_panel(
    run: Run, test_idx: int, target: int | None, method: str, scores: NDArray[np.floating] | None = None
) -> None:
    """The whole panel for one test example and the target that is explained, None for the model's answer.

    The strongest train examples are those by `scores` `[n_train]`, which by default are those of the target.
    """
    st.markdown("**What if these training examples were gone?**", help=_HELP)
    idxs = picked_train(run)
    if target is None:
        target = answer_target(run, test_overview(run), test_idx, method)
    _basket(run, idxs, run.score_row(test_idx, method, target) if scores is None else scores)
    try:
        history = _past(run, reviews_written(run))
    except TrakCoreError as error:
        st.error(f"The history of this run cannot be read: {told(error)}", icon=":material/error:")
        history = []
    scale, table = _scale_and_table(run, reviews_written(run), method, history)
    if idxs:
        _question(run, idxs, test_idx, target, method, scale, history)
    if history:
        with st.expander(f"What was asked before ({len(history)})", key="what_if_history"):
            _show_history(history, table, test_idx)


def _basket(run: Run, idxs: list[int], scores: NDArray[np.floating]) -> None:
    """The picks as a gallery, and the buttons that fill and empty it."""
    with st.container(horizontal=True):
        for side, icon in zip(SIDES, (":material/arrow_drop_up:", ":material/arrow_drop_down:"), strict=True):
            title = f"Top {N_TOP} {side}s"
            best = strongest(scores, side, N_TOP).tolist()
            st.button(title, icon=icon, on_click=pick_many, args=(best,), key=f"pick {title}")
        st.button("Clear picks", icon=":material/close:", on_click=clear_picks, disabled=not idxs, key="clear_picks")
    if not idxs:
        st.caption("Nothing is picked yet: take the strongest ones, or pick examples on any page.")
        return
    items = [
        GalleryItem(one, f"picked {named(one)}; click to remove it", caption=caption_of(one))
        for one in read_examples(run, "train", idxs[:MAX_ITEMS])
    ]
    few = MANY_TEXTS if shows_texts(run) else MANY_IMAGES
    with st.container(height=260 if len(items) > few else "content", border=False):
        gallery("Picked training examples", items, key="picks", on_pick=toggle_pick, size=44)
    first = f", the first {MAX_ITEMS} are shown" if len(idxs) > MAX_ITEMS else ""
    words = f"{len(idxs):,} selected{first}; click to remove one."
    if len(idxs) > MOST_IN_ADDRESS:
        words += f" More than {MOST_IN_ADDRESS} do not fit into an address: a copied link leaves them out."
    st.caption(words)


def _question(
    run: Run, idxs: list[int], test_idx: int, target: int, method: str, scale: Scale, history: list[Verified]
) -> None:
    """What is predicted without the picks, the way to verify it, and what came out."""
    predicted = predict_removal(run, test_overview(run), test_idx, idxs, scale, method, target)
    say("what if: predicted", _predicted_sentence(predicted))
    question, verified, problem = None, None, ""
    try:
        question = as_question(run, test_idx, idxs, N_SEEDS)
        verified = next((one for one in history if one.question == question), None)
    except TrakCoreError as error:
        problem = str(error)
    if verified is not None:
        say("what if: actual", _actual_sentence(predicted, verified))
    if predicted.target.change is not None or verified is not None:
        actual = "" if verified is None else ", and the actual one with its 95% interval"
        show(change_chart(predicted, verified), "what_if", f"Predicted change of every class{actual}")
    say("what if: trust", _trust_sentence(scale, can_be_verified=question is not None and verified is None), st.caption)
    if problem:
        st.info(told(problem), icon=":material/info:")
    elif question is not None and verified is None:
        _verification(run, question)


def _key(run: Run, question: Question) -> str:
    return f"what if {run.path} {question.what_if_id}"


def _start(run: Run, question: Question) -> None:
    arguments = ["what-if", str(run.path), "--test", str(question.test_idx), "--seeds", str(question.n_seeds)]
    removed = ",".join(map(str, question.removed))  # may be longer than an argument can be
    background_jobs().start(_key(run, question), [*arguments, "--remove", "-"], removed)


def _verification(run: Run, question: Question) -> None:
    """The button, or the progress of what it started."""
    if is_retraining(_key(run, question)):
        return
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
        f"{_history_sentence(len(table), len(here))} Changes are of the margin of the label; each is predicted by a "
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


def _predicted_sentence(predicted: Prediction) -> str:
    """What is predicted, in words."""
    before, after = predicted.target.before, predicted.target.after
    if after is None:
        return "Scores of this method have no unit, so they predict no number here."
    n = len(predicted.removed)
    these = "this one" if n == 1 else f"these {n:,}"
    what = f"the margin of “{predicted.target.name}”" if len(predicted.classes) > 1 else raised(predicted.has_answer)
    how = "fall" if after < before else "rise"
    end = ""
    if predicted.is_flipped:
        end = f", and the answer to flip from “{predicted.answer}” to “{predicted.answer_after}”"
    elif predicted.answer_after is not None:
        end = f" (the answer stays “{predicted.answer}”)"
    return f"Without {these}, {what} is predicted to {how} from {before:.2f} to {after:.2f}{end}."


def _actual_sentence(predicted: Prediction, verified: Verified) -> str:
    """What retraining found, in words."""
    c = predicted.target.number
    how = "fell" if verified.change[c] < 0 else "rose"
    answers = f" The answer changed in {verified.share_flipped:.0%} of the pairs." if len(verified.before) > 1 else ""
    return (
        f"Retrained {verified.n_pairs} times with and without them, it {how} from {verified.before[c]:.2f} to "
        f"{verified.after[c]:.2f}: {verified.change[c]:+.2f}, 95% interval {verified.low[c]:+.2f} to "
        f"{verified.high[c]:+.2f}.{answers}"
    )


def _trust_sentence(scale: Scale, can_be_verified: bool) -> str:
    """How good such predictions have been."""
    if scale.factor is None:
        return "Nothing was measured that would give these scores a unit."
    if scale.typical_error is None:
        until = ": an estimate until you verify it" if can_be_verified else ""
        return (
            f"Not calibrated{until}. Too few removals were retrained for this run to tell how far predictions are off."
        )
    r = "" if scale.correlation is None else f" (correlation {scale.correlation:.2f})"
    return (
        f"How good is that? Over {scale.n_known:,} removals that were retrained, such predictions for the label "
        f"were off by {scale.typical_error:.2f} in the middle case{r}."
    )


def _history_sentence(n: int, n_here: int) -> str:
    """How much was asked before."""
    what = "1 what-if was" if n == 1 else f"{n:,} what-ifs were"
    return f"{what} verified for this run, {n_here:,} of them for this test example."
