"""What a review comes to, as tables to take away: every verdict, the cleaned labels, and what is to be removed."""

from collections.abc import Sequence

import pandas as pd

from trak_core.store.reviews import ReviewLog, Verdict
from trak_core.store.run import Run
from trak_core.views.review import standing_log

_COLUMNS = {
    "train_idx": "int64",
    "label": "int64",
    "label_name": "string",
    "new_label": "Int64",
    "new_label_name": "string",
    "verdict": "string",
    "reviewer": "string",
    "note": "string",
    "reviewed_at": "datetime64[us]",
}


def verdict_table(run: Run, log: ReviewLog) -> pd.DataFrame:
    """What stands of every reviewer, by train_idx, the last verdict on an example last.

    Returns:
        A table with the columns train_idx, label, label_name, new_label, new_label_name, verdict, reviewer, note and
        reviewed_at (UTC). The new label is the given one for "keep" and "unsure", and missing for "exclude".
    """
    log = standing_log(run, log)
    standing = sorted(log.by_reviewer.values(), key=lambda verdict: (verdict.train_idx, verdict.verdict_id))
    return _frame([_row(run, verdict.train_idx, verdict) for verdict in standing])


def cleaned_labels(run: Run, log: ReviewLog) -> pd.DataFrame:
    """All train examples with the labels to train on: as `verdict_table`, one row each.

    Where reviewers differ, the last verdict counts. An example nobody reviewed keeps its label and has no verdict; an
    excluded one has no new label.
    """
    log = standing_log(run, log)
    return _frame([_row(run, idx, log.latest.get(idx)) for idx in range(run.info.n_train)])


def removal_list(run: Run, log: ReviewLog) -> pd.DataFrame:
    """Train examples whose last verdict is "exclude", by number: as `verdict_table`."""
    log = standing_log(run, log)
    return _frame([_row(run, idx, log.latest[idx]) for idx in log.excluded])


def _row(run: Run, train_idx: int, verdict: Verdict | None) -> tuple[object, ...]:
    names, label = run.info.class_names, run.label("train", train_idx)
    if verdict is None:
        return (train_idx, label, names[label], label, names[label], None, None, None, None)
    new = {"relabel": verdict.new_label, "exclude": None}.get(verdict.verdict, label)
    new_name = None if new is None else names[new]
    said = (verdict.verdict, verdict.reviewer, verdict.note, verdict.reviewed_at)
    return (train_idx, label, names[label], new, new_name, *said)


def _frame(rows: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(_COLUMNS)).astype(_COLUMNS)
