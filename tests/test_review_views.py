"""The review as pages show it: queue and progress, what speaks for and against a label, and what it comes to."""

from dataclasses import replace
from datetime import datetime

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from trak_core.errors import NotInRunError
from trak_core.store.ranking import strongest
from trak_core.store.reviews import ReviewLog, Verdict
from trak_core.store.run import open_run
from trak_core.views.neighbours import feature_space
from trak_core.views.review import (
    SuspectFilter,
    Suspects,
    class_keys,
    find_suspects,
    only_given_label,
    read_suspects,
    reviewers_in_words,
    standing_log,
    stop_advice,
    suspect_signals,
)
from trak_core.views.review_tables import cleaned_labels, removal_list, verdict_table
from trak_core.views.suspect_evidence import suspect_evidence

# Train examples 4, 0, 3, 1 in the order of suspicion; 2 is in no ranking.
SUSPECTS = Suspects(
    "odd",
    np.array([4, 0, 3, 1]),
    np.array([9.0, 5.0, 2.0, 1.0]),
    np.array([1, 0, 1, 0]),
    5,
    np.array([0.9, np.nan, 0.2, 0.1]),
    np.array([False, True, False, True]),
)
LABELS = np.array([1, 1, 0, 0, 0])
WHEN = datetime(2030, 1, 2, 3, 4, 5)


def log(*said: tuple[int, str, str, int | None]) -> ReviewLog:
    """A log of verdicts on (train_idx, verdict, reviewer, new_label), in that order."""
    return ReviewLog(
        tuple(
            Verdict(number, idx, verdict, new_label, reviewer, "why", WHEN)  # type: ignore[arg-type]
            for number, (idx, verdict, reviewer, new_label) in enumerate(said, start=1)
        )
    )


def test_the_queue_is_in_the_order_of_suspicion_without_what_is_judged():
    queue = find_suspects(SUSPECTS, LABELS, log((0, "keep", "ann", None)), SuspectFilter())
    assert queue.shown == [4, 3, 1]
    assert (queue.n, queue.n_reviewed, queue.n_decided, queue.n_errors) == (4, 1, 1, 0)


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (SuspectFilter(show="all"), [4, 0, 3, 1]),
        (SuspectFilter(show="all", length=2), [4, 0]),
        (SuspectFilter(show="all", classes=(1,)), [0, 1]),
        (SuspectFilter(show="all", classes=(1,), length=1), [0]),
        (SuspectFilter(show="to review"), [1]),
        (SuspectFilter(show="to review by me", reviewer="ann"), [3, 1]),
        (SuspectFilter(show="to review by me", reviewer="eve"), [4, 0, 3, 1]),
        (SuspectFilter(show="unsure"), [0]),
        (SuspectFilter(show="disputed"), [4]),
        (SuspectFilter(show="all", only_likely=True), [0, 1]),
        (SuspectFilter(show="all", only_likely=True, classes=(0,)), []),
        (SuspectFilter(show="all", among=frozenset({1, 2, 4})), [4, 1]),
        (SuspectFilter(show="all", among=frozenset({1, 4}), length=1), [4]),
        (SuspectFilter(show="all", among=frozenset()), []),
    ],
)
def test_filters_choose_what_to_walk_through(wanted, shown):
    said = log(
        (4, "keep", "ann", None), (4, "exclude", "bob", None), (0, "unsure", "ann", None), (3, "keep", "bob", None)
    )
    assert find_suspects(SUSPECTS, LABELS, said, wanted).shown == shown


def test_progress_counts_the_last_verdict_of_anybody_and_leaves_the_unsure_out_of_precision():
    said = log((4, "keep", "ann", None), (4, "relabel", "bob", 1), (0, "unsure", "ann", None), (3, "keep", "bob", None))
    queue = find_suspects(SUSPECTS, LABELS, said, SuspectFilter())
    assert (queue.n_reviewed, queue.n_decided, queue.n_errors) == (3, 2, 1)
    assert queue.precision == 0.5
    assert queue.progress == 0.75
    assert find_suspects(SUSPECTS, LABELS, ReviewLog(), SuspectFilter()).precision is None


def test_precision_of_late_is_over_the_last_fifty_decided():
    n = 70
    suspects = Suspects("odd", np.arange(n), np.zeros(n), np.zeros(n, dtype=int), n)
    said = log(*((idx, "exclude" if idx < 30 else "keep", "ann", None) for idx in range(n)))
    queue = find_suspects(suspects, np.zeros(n, dtype=int), said, SuspectFilter())
    assert (queue.n_recent, queue.n_recent_errors) == (50, 10)
    assert queue.precision == 30 / 70


@pytest.mark.parametrize("n_errors", [0, 1, 2, 3, 21, 49, 50])
def test_reviewing_may_stop_when_the_last_fifty_held_two_errors_at_most(n_errors):
    n = 60
    suspects = Suspects("odd", np.arange(n), np.zeros(n), np.zeros(n, dtype=int), n)
    said = log(*((idx, "exclude" if 10 <= idx < 10 + n_errors else "keep", "ann", None) for idx in range(n)))
    advice = stop_advice(find_suspects(suspects, np.zeros(n, dtype=int), said, SuspectFilter()))
    assert (advice.n, advice.n_errors, advice.may_stop) == (50, n_errors, n_errors <= 2)
    # At the bound, so few errors or fewer have a chance of exactly 5%.
    assert n_errors == 50 or binom.cdf(n_errors, 50, advice.upper) == pytest.approx(0.05)
    if n_errors == 2:
        held = "The last 50 held 2 errors (at most 12% of such labels, 95% sure)."
        assert advice.in_words == f"{held} Reviewing on finds few: you can stop here."
    if n_errors == 21:
        assert advice.in_words == "The last 50 held 21 errors: go on."


def test_fewer_than_fifty_decided_say_nothing_of_stopping():
    n = 60
    suspects = Suspects("odd", np.arange(n), np.zeros(n), np.zeros(n, dtype=int), n)
    said = log(*((idx, "unsure" if idx < 11 else "keep", "ann", None) for idx in range(n)))
    assert stop_advice(find_suspects(suspects, np.zeros(n, dtype=int), said, SuspectFilter())) is None


def test_several_reviewers_are_counted_by_name():
    said = log(
        (4, "keep", "Ben", None), (4, "exclude", "Ana", None), (0, "keep", "Ben", None), (4, "keep", "Ben", None)
    )
    assert reviewers_in_words(said) == "Ben 2, Ana 1; they differ on 1"
    assert reviewers_in_words(log((4, "keep", "Ben", None))) is None
    many = log(*((1, "keep", name, None) for name in "abcdefg"))
    assert reviewers_in_words(many) == "a 1, b 1, c 1, d 1, e 1 and 2 more; they differ on 0"


def test_how_sure_the_suggestion_is_and_what_is_likely_wrong():
    assert [SUSPECTS.suggested_confidence(idx) for idx in range(5)] == [None, 0.1, None, 0.2, 0.9]
    assert [SUSPECTS.is_likely(idx) for idx in range(5)] == [True, True, False, False, False]
    assert SUSPECTS.n_likely == 2
    bare = replace(SUSPECTS, confidence=None, likely=None)
    assert (bare.n_likely, bare.is_likely(0), bare.suggested_confidence(4)) == (None, False, None)


def test_what_is_likely_wrong_is_the_same_by_every_signal_and_may_not_be_judged(runs):
    path = runs / "digits" / "store.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE suspects SET is_likely = NULL, suggested_confidence = NULL")
    with open_run(runs / "digits") as run:
        suspects = read_suspects(run, "self_influence")
        assert suspects.n_likely is None
        assert suspects.suggested_confidence(3) is None
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE suspects SET is_likely = train_idx IN (3, 5) WHERE signal = 'confidence'")
        connection.execute("UPDATE suspects SET suggested_confidence = 0.75 WHERE train_idx = 3")
    with open_run(runs / "digits") as run:
        suspects = read_suspects(run, "self_influence")
        assert (suspects.n_likely, suspects.is_likely(3), suspects.is_likely(4)) == (2, True, False)
        assert suspects.suggested_confidence(3) == 0.75


def test_signals_come_in_their_order_and_unknown_ones_last(runs):
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute("DELETE FROM suspects")
        for signal in ("zeal", "self_influence", "out_of_fold", "combined", "neighbours"):
            connection.execute("INSERT INTO suspects VALUES (0, ?, 1, 1, 1, NULL, NULL, 'train')", [signal])
    with open_run(runs / "digits") as run:
        assert suspect_signals(run) == {
            "combined": "Combined",
            "out_of_fold": "Out-of-fold confidence",
            "neighbours": "Neighbours' labels",
            "self_influence": "Self-influence",
            "zeal": "Zeal",
        }


def test_verdicts_on_what_is_not_in_the_run_are_left_out_and_counted(small_run):
    said = log(
        (1437, "exclude", "ann", None),  # one more than there are
        (5, "keep", "ann", None),
        (5, "relabel", "ann", 10),  # and so is this class: what ann said before was taken back by it
        (6, "keep", "ann", None),
        (6, "relabel", "bob", 99),
    )
    standing = standing_log(small_run, said)
    assert {key: verdict.verdict for key, verdict in standing.by_reviewer.items()} == {(6, "ann"): "keep"}
    assert standing.n_not_in_run == 3
    assert standing_log(small_run, standing) == standing
    for table in (verdict_table(small_run, said), removal_list(small_run, said)):
        assert set(table["train_idx"]) <= {6}
    assert (cleaned_labels(small_run, said)["new_label"] == small_run.train_labels).all()


def test_an_undone_verdict_on_what_is_not_in_the_run_takes_nothing_back(small_run):
    said = log((5, "keep", "ann", None), (5, "relabel", "ann", 10))
    undone = ReviewLog((said.verdicts[0], replace(said.verdicts[1], is_undone=True)))
    standing = standing_log(small_run, undone)
    assert standing.latest[5].verdict == "keep"
    assert standing.n_not_in_run == 0
    everything_fits = log((5, "keep", "ann", None))
    assert standing_log(small_run, everything_fits) is everything_fits


def test_the_only_label_is_told(runs):
    with open_run(runs / "digits") as run:
        assert only_given_label(run) is None
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute("UPDATE examples SET label = 7 WHERE split = 'train'")
    with open_run(runs / "digits") as run:
        assert only_given_label(run) == "7"


def test_the_next_one_comes_later_in_the_queue_and_then_from_its_beginning():
    queue = find_suspects(SUSPECTS, LABELS, log((0, "keep", "ann", None)), SuspectFilter())
    assert [queue.after(None), queue.after(4), queue.after(0), queue.after(1)] == [4, 3, 3, 4]
    assert queue.after(2) == 4  # in no ranking, so behind all
    assert [queue.step(4, -1), queue.step(3, -1), queue.step(3, 1), queue.step(1, 1)] == [None, 4, 1, None]
    empty = find_suspects(SUSPECTS, LABELS, ReviewLog(), SuspectFilter(show="disputed"))
    assert (empty.shown, empty.after(4), empty.step(4, 1)) == ([], None, None)


def test_keys_are_digits_in_order_and_a_class_called_by_a_digit_has_that_key():
    assert class_keys([str(digit) for digit in range(10)]) == list("0123456789")
    assert class_keys(["cat", "dog"]) == ["1", "2"]
    assert class_keys([f"class {i}" for i in range(12)]) == [*"1234567890", None, None]


def test_evidence_is_what_the_store_says(small_run):
    suspects, space = read_suspects(small_run, "confidence"), feature_space(small_run)
    idx = int(suspects.train_idx[0])
    other = suspects.suggested_label(idx)
    evidence = suspect_evidence(small_run, space, idx, other, k=5)
    scores = small_run.scores("trak")
    listed = (strongest(scores, "opponent", 100) == idx).any(axis=1) & (scores[:, idx] < 0)
    hurt = sorted(np.flatnonzero(listed).tolist(), key=lambda i: scores[i, idx])[:5]
    assert [one.example.idx for one in evidence.hurts] == hurt
    assert [one.score for one in evidence.hurts] == pytest.approx(scores[hurt, idx].tolist())
    assert all(one.score > 0 for one in evidence.helps)
    labels = small_run.train_labels
    for scored, label in ((evidence.like_given, evidence.example.label), (evidence.like_suggested, other)):
        alike = {i: abs(float(space.train[i] @ space.train[idx])) for i in np.flatnonzero(labels == label) if i != idx}
        assert [one.example.idx for one in scored] == sorted(alike, key=alike.__getitem__, reverse=True)[:5]
    found = small_run.rows("SELECT probabilities FROM predictions WHERE split = 'train' AND idx = ?", [idx])
    mean = np.mean([row for (row,) in found], axis=0)
    assert (evidence.p_label, evidence.p_top) == pytest.approx((mean[evidence.example.label], mean.max()))
    assert evidence.top_label == mean.argmax()


def test_models_disagree_where_any_other_class_is_on_top_for_them(small_run):
    space = feature_space(small_run)
    rows = small_run.rows(
        "SELECT idx, probabilities FROM predictions WHERE split = 'train' ORDER BY checkpoint_id, idx"
    )
    means = np.array([row for _, row in rows]).reshape(-1, small_run.info.n_train, 10).mean(axis=0)
    top = means.argmax(axis=1)
    odd = np.flatnonzero(top != small_run.train_labels)
    agreed = np.flatnonzero(top == small_run.train_labels)
    assert len(odd) and len(agreed)
    for idx in (*odd[:3].tolist(), *agreed[:3].tolist()):
        third = next(c for c in range(10) if c not in (top[idx], small_run.train_labels[idx]))
        evidence = suspect_evidence(small_run, space, idx, third, k=1)
        assert evidence.models_disagree == (top[idx] != small_run.train_labels[idx])


def test_evidence_without_a_suggestion_or_an_example(small_run):
    evidence = suspect_evidence(small_run, feature_space(small_run), 3, None)
    assert (evidence.suggested_name, evidence.like_suggested) == (None, [])
    with pytest.raises(NotInRunError, match="no train example 1437"):
        suspect_evidence(small_run, feature_space(small_run), 1437, None)


def test_cleaned_labels_have_a_row_for_every_train_example(small_run):
    given = small_run.train_labels
    new = int((given[5] + 1) % 10)
    said = log(
        (5, "keep", "ann", None), (5, "relabel", "bob", new), (6, "exclude", "ann", None), (7, "unsure", "ann", None)
    )
    table = cleaned_labels(small_run, said)
    assert table["train_idx"].tolist() == list(range(1437))
    expected = [int(label) for label in given]
    expected[5] = new
    assert table["new_label"].drop(6).tolist() == [label for idx, label in enumerate(expected) if idx != 6]
    assert pd.isna(table.loc[6, "new_label"])
    assert pd.isna(table.loc[6, "new_label_name"])
    assert table.loc[5, "new_label_name"] == small_run.info.class_names[new]
    assert table.loc[5, ["verdict", "reviewer", "note"]].tolist() == ["relabel", "bob", "why"]
    assert table.loc[5, "reviewed_at"] == WHEN
    assert table["verdict"].count() == 3
    assert removal_list(small_run, said)["train_idx"].tolist() == [6]


def test_the_table_of_verdicts_has_a_row_for_each_reviewer(small_run):
    said = log((7, "exclude", "ann", None), (5, "keep", "bob", None), (7, "keep", "bob", None))
    table = verdict_table(small_run, said)
    assert list(zip(table["train_idx"], table["reviewer"], table["verdict"], strict=True)) == [
        (5, "bob", "keep"),
        (7, "ann", "exclude"),
        (7, "bob", "keep"),
    ]
    nothing = verdict_table(small_run, ReviewLog())
    assert len(nothing) == 0
    assert nothing.dtypes.to_dict() == table.dtypes.to_dict()
