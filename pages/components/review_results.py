"""What a review has said so far, and what it comes to."""

from collections.abc import Callable, Sequence
from typing import cast

import pandas as pd
import streamlit as st

from pages.components.address import go_to_train
from pages.components.kept import kept_per_run
from pages.components.pages import EXPLORE
from pages.components.picks import MOST_IN_ADDRESS
from pages.components.review_keys import undo
from pages.components.review_queue import log_as_of_now
from trak_core.labels.quality import Quality
from trak_core.store.reviews import ReviewLog, Verdict
from trak_core.store.run import Run
from trak_core.views.label_quality import planted_quality
from trak_core.views.review import reviewers_in_words, suspect_signals
from trak_core.views.review_tables import cleaned_labels, removal_list

N_LAST = 6
_MEASURES = {
    "AUROC": "Chance that a wrong label is ranked above a right one.",
    "Found in first 10%": "Share of the wrong labels among the first tenth.",
    "Found in first 20%": "Share of the wrong labels among the first fifth.",
    "Inspected for 95%": "Share of all labels to look at until 95% of the wrong ones are found.",
}


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
                st.button(
                    "Undo",
                    key=f"undo-{verdict.verdict_id}",
                    on_click=undo,
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
        _download(
            "Cleaned labels, CSV", f"{name}.csv", "text/csv", lambda: _csv(cleaned_labels(run, log_as_of_now(run)))
        )
        _download(
            "Cleaned labels, Parquet",
            f"{name}.parquet",
            "application/vnd.apache.parquet",
            lambda: _parquet(cleaned_labels(run, log_as_of_now(run))),
        )
        _download(
            "Removal list, CSV",
            f"removal_list_{run.info.name}.csv",
            "text/csv",
            lambda: _csv(removal_list(run, log_as_of_now(run))),
        )
    if 0 < len(log.excluded) <= MOST_IN_ADDRESS:
        st.page_link(
            EXPLORE,
            label="What if the excluded were gone?",
            icon=":material/science:",
            query_params={"run": run.info.name, "picked": ".".join(map(str, log.excluded))},
        )


@kept_per_run(max_entries=4)
def _planted_quality(run: Run) -> dict[str, Quality] | None:
    return planted_quality(run)


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
                titles[signal],
                f"{each.auroc:.3f}",
                f"{each.recall_at_10:.0%}",
                f"{each.recall_at_20:.0%}",
                f"{each.inspected_for_95:.0%}",
            )
            for signal, each in found.items()
        ]
        st.dataframe(
            pd.DataFrame(rows, columns=["Signal", *_MEASURES]),
            hide_index=True,
            column_config={
                name: st.column_config.TextColumn(help=help_text, alignment="right")
                for name, help_text in _MEASURES.items()
            },
        )


def _csv(table: pd.DataFrame) -> bytes:
    return str(table.to_csv(index=False)).encode()


def _parquet(table: pd.DataFrame) -> bytes:
    return cast(bytes, table.to_parquet(index=False))


def _download(words: str, file_name: str, mime: str, data: Callable[[], bytes]) -> None:
    st.download_button(words, data=data, file_name=file_name, mime=mime, on_click="ignore", icon=":material/download:")
