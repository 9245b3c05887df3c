"""Measures of a ranking against known errors: against plain loops over pairs, prefixes and thresholds."""

import json
import shutil
import sys
from dataclasses import asdict

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import average_precision_score, roc_auc_score

from trak_core.__main__ import cli
from trak_core.errors import InvalidSettingError, NeedNotMetError, NotInRunError
from trak_core.labels.quality import (
    auroc,
    average_precision,
    cleanlab_signals,
    inspected_for,
    quality,
    ranked,
    recall_at,
)
from trak_core.store.run import open_run
from trak_core.views.label_quality import (
    NOTHING_TO_COMPARE,
    first_suspects,
    planted_in_words,
    planted_quality,
    suspects_text,
)
from trak_core.views.review import suspect_signals, why_no_suspects

PLANTED = [3, 17, 400, 1000]


def drawn(seed: int, n: int = 60, n_values: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties, and wrong labels that have somewhat higher ones."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(n) < 0.2
    wrong[:2] = True, False
    return generator.integers(0, n_values, n) + 3.0 * wrong, wrong


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_share_of_pairs_in_order_with_ties_as_half(seed):
    scores, wrong = drawn(seed)
    pairs = [
        1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
        for i in np.flatnonzero(wrong)
        for j in np.flatnonzero(~wrong)
    ]
    assert auroc(scores, wrong) == pytest.approx(np.mean(pairs))
    assert auroc(scores, wrong) == pytest.approx(roc_auc_score(wrong, scores))


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_mean_precision_down_to_each_wrong_label(seed):
    scores, wrong = drawn(seed)
    plain = np.mean([wrong[scores >= scores[i]].mean() for i in np.flatnonzero(wrong)])
    assert average_precision(scores, wrong) == pytest.approx(plain)
    assert average_precision(scores, wrong) == pytest.approx(average_precision_score(wrong, scores))


@pytest.mark.parametrize("seed", range(5))
def test_recall_and_inspection_are_those_of_somebody_who_walks_down_the_list(seed):
    scores, wrong = drawn(seed)
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert ranked(scores).tolist() == order
    for fraction in (0.0, 0.1, 0.25, 1.0):
        seen = order[: round(fraction * len(order))]
        assert recall_at(np.array(order), wrong, fraction) == sum(wrong[i] for i in seen) / wrong.sum()
    for recall in (0.01, 0.5, 0.95, 1.0):
        n_seen = 0
        while sum(wrong[i] for i in order[:n_seen]) / wrong.sum() < recall:
            n_seen += 1
        assert inspected_for(np.array(order), wrong, recall) == n_seen / len(order)


def test_a_share_that_no_float_holds_exactly_needs_no_label_more():
    wrong = np.arange(200) < 100
    assert inspected_for(np.arange(200), wrong, 0.07) == 7 / 200  # 0.07 * 100 is 7.000000000000001


def test_perfect_useless_and_reversed_rankings_have_their_known_values():
    wrong = np.arange(100) < 10
    assert asdict(quality(-np.arange(100.0), wrong)) == {
        "n": 100,
        "n_wrong": 10,
        "auroc": 1.0,
        "average_precision": 1.0,
        "recall_at_10": 1.0,
        "recall_at_15": 1.0,
        "recall_at_20": 1.0,
        "inspected_for_95": 0.1,
    }
    useless = quality(np.zeros(100), wrong)
    assert (useless.auroc, useless.average_precision) == (0.5, 0.1)
    assert auroc(np.arange(100.0), wrong) == 0.0


def test_labels_that_are_not_ranked_come_last():
    assert auroc(np.array([-np.inf, 0.0, 1.0]), np.array([True, False, False])) == 0.0


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: auroc(np.zeros(3), np.zeros(3, dtype=bool)), "wrong holds 0 wrong labels of 3"),
        (lambda: auroc(np.zeros(3), np.ones(3, dtype=bool)), "at least one wrong label and one right one"),
        (lambda: auroc(np.zeros(2), np.array([True, False, True])), r"scores have shape \(2,\) with 0 NaN for 3"),
        (lambda: auroc(np.array([0, np.nan]), np.array([True, False])), "with 1 NaN for 2 labels"),
        (lambda: average_precision(np.zeros(2), np.array([0, 1])), "dtype int64"),
        (lambda: recall_at(np.array([0, 0]), np.array([True, False]), 0.5), "each number from 0 to 1 once"),
        (lambda: recall_at(np.arange(2), np.array([True, False]), 1.5), "fraction=1.5; it must be from 0 to 1"),
        (lambda: inspected_for(np.arange(2), np.array([True, False]), 0.0), "recall=0.0; it must be above 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(measure, message):
    with pytest.raises(InvalidSettingError, match=message):
        measure()


# --- of a run -------------------------------------------------------------------------------------------------


@pytest.fixture
def planted_runs(small_runs, tmp_path, monkeypatch):
    """A directory with the small run, in which four labels are said to have been planted."""
    shutil.copytree(small_runs, tmp_path / "runs")
    with duckdb.connect(str(tmp_path / "runs" / "digits" / "store.duckdb")) as connection:
        connection.executemany("INSERT INTO planted_errors VALUES (?, 0)", [(idx,) for idx in PLANTED])
        connection.execute("UPDATE meta SET value = '0.003' WHERE key = 'flip_labels'")
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_the_quality_of_a_run_is_that_of_its_stored_scores(planted_runs):
    with open_run(planted_runs / "digits") as run:
        found = planted_quality(run)
        signals = [name for (name,) in run.rows("SELECT DISTINCT signal FROM suspects")]
        assert sorted(found) == sorted(signals)
        for signal in signals:
            scores = run.columns("SELECT score FROM suspects WHERE signal = ? ORDER BY train_idx", [signal])["score"]
            wrong = np.isin(np.arange(run.info.n_train), PLANTED)
            assert found[signal].auroc == pytest.approx(roc_auc_score(wrong, scores))
            assert found[signal].n_wrong == 4
        assert planted_in_words(run) == (
            "4 of 1,437 training labels were made wrong on purpose (uniform, --flip-labels 0.003)."
        )


def test_where_nothing_was_planted_nothing_is_measured(small_run):
    assert planted_quality(small_run) is None
    assert planted_in_words(small_run) is None


def test_examples_that_a_signal_does_not_rank_count_as_the_least_suspicious(planted_runs):
    with duckdb.connect(str(planted_runs / "digits" / "store.duckdb")) as connection:
        connection.execute(
            "INSERT INTO suspects (train_idx, signal, score, rank, split) VALUES (17, 'odd', 0.5, 1, 'train')"
        )
    with open_run(planted_runs / "digits") as run:
        odd = planted_quality(run)["odd"]
    assert odd.recall_at_10 >= 0.25
    assert odd.auroc == pytest.approx((1 + 3 * 0.5) / 4)  # one above all, three tied with all


def test_the_first_suspects_are_the_first_rows_of_the_signal(small_run):
    found = first_suspects(small_run, "self_influence", 7)
    rows = small_run.rows("SELECT * FROM suspects WHERE signal = 'self_influence' AND rank <= 7 ORDER BY rank")
    assert [(s.train_idx, s.score, s.rank, s.suggested_label) for s in found.suspects] == [
        (row[0], row[2], row[3], row[4]) for row in rows
    ]
    assert [s.label for s in found.suspects] == [small_run.label("train", s.train_idx) for s in found.suspects]
    assert found.n == small_run.info.n_train
    with pytest.raises(NotInRunError, match="has no signal 'magic'; it has: "):
        first_suspects(small_run, "magic", 7)


def test_a_run_without_suspects_says_so(planted_runs):
    with duckdb.connect(str(planted_runs / "digits" / "store.duckdb")) as connection:
        connection.execute("DELETE FROM suspects")
    result = CliRunner().invoke(cli, ["suspects", "digits"])
    assert result.exit_code == 2
    assert (
        "run 'digits' has no suspects: it was built from the recipe 'digits'; suspects are found while" in result.output
    )


def test_a_run_of_one_class_or_a_class_each_is_told_why_it_has_no_suspects(planted_runs):
    store = planted_runs / "digits" / "store.duckdb"
    for statement, why in (
        (
            "UPDATE examples SET label = 3 WHERE split = 'train'",
            "are all labelled '3', and there is nothing to compare",
        ),
        ("UPDATE examples SET label = idx WHERE split = 'train'", "its train examples have a class each"),
        ("UPDATE meta SET value = '[\"value\"]' WHERE key = 'class_names'", "its examples have numbers as targets"),
    ):
        with duckdb.connect(str(store)) as connection:
            connection.execute(statement)
        with open_run(planted_runs / "digits") as run:
            assert why in why_no_suspects(run)


def test_cleanlab_is_compared_with_where_errors_were_planted_and_elsewhere_it_is_said_why_not(
    planted_runs, small_runs, monkeypatch
):
    with open_run(planted_runs / "digits") as run:
        text = suspects_text(run, first_suspects(run, None, 3), with_cleanlab=True)
        out_of_fold = run.rows("SELECT probabilities FROM out_of_fold ORDER BY train_idx")
        theirs = cleanlab_signals(run.train_labels, np.stack([row for (row,) in out_of_fold]))
        wrong = np.isin(np.arange(run.info.n_train), run.rows("SELECT train_idx FROM planted_errors"))
        for name, scores in theirs.items():
            line = next(line for line in text.splitlines() if line.startswith(name.replace("_", " ")))
            assert f"{quality(scores, wrong).auroc:.3f}" in line
    monkeypatch.setenv("TRAK_RUNS_DIR", str(small_runs))
    printed = CliRunner().invoke(cli, ["suspects", "digits", "--cleanlab"])
    assert printed.exit_code == 0
    assert NOTHING_TO_COMPARE in printed.output


def test_suspects_are_printed_with_their_quality_and_without_the_truth(planted_runs):
    printed = CliRunner().invoke(cli, ["suspects", "digits", "--signal", "confidence", "--first", "3"])
    assert printed.exit_code == 0, printed.output
    facts = json.loads(CliRunner().invoke(cli, ["suspects", "digits", "--first", "3", "--json"]).stdout)
    with open_run(planted_runs / "digits") as run:
        first = first_suspects(run, "confidence", 3)
        measured, title = planted_quality(run), suspect_signals(run)["confidence"]
    lines = printed.output.splitlines()
    assert [line.split()[:2] for line in lines[3:6]] == [[str(s.rank), str(s.train_idx)] for s in first.suspects]
    assert "4 of 1,437 training labels were made wrong on purpose" in printed.output
    assert f"{measured['confidence'].auroc:.3f}" in next(line for line in lines if line.startswith(title))
    assert len(facts["suspects"]) == 3
    assert facts["quality"] == {name: asdict(of) for name, of in measured.items()}
    assert "true_label" not in json.dumps(facts)


def test_a_likely_wrong_label_is_marked_and_its_confidence_told(planted_runs):
    with duckdb.connect(str(planted_runs / "digits" / "store.duckdb")) as connection:
        connection.execute("UPDATE suspects SET is_likely = (rank <= 2), suggested_confidence = 0.875")
    lines = CliRunner().invoke(cli, ["suspects", "digits", "--first", "3"]).output.splitlines()
    assert lines[0].endswith("the first 3 of 1,437; 2 labels are called likely wrong.")
    assert [line.endswith("yes") for line in lines[3:6]] == [True, True, False]
    assert all("88%" in line for line in lines[3:6])


def test_rankings_of_cleanlab_are_those_of_its_own_package_turned_round():
    rank = pytest.importorskip("cleanlab.rank", reason="cleanlab is not installed (pip install cleanlab)")
    generator = np.random.default_rng(3)
    probabilities = generator.dirichlet(np.ones(4), 50).astype(np.float32)
    labels = generator.integers(0, 4, 50)
    found = cleanlab_signals(labels, probabilities)
    assert list(found) == [
        "cleanlab_self_confidence",
        "cleanlab_normalized_margin",
        "cleanlab_confidence_weighted_entropy",
    ]
    for name, scores in found.items():
        quality_of_labels = rank.get_label_quality_scores(
            labels, probabilities / probabilities.sum(1, keepdims=True), method=name.removeprefix("cleanlab_")
        )
        assert scores == pytest.approx(-quality_of_labels)
    own = probabilities[np.arange(50), labels]
    assert np.argmax(found["cleanlab_self_confidence"]) == np.argmin(own), "what is least sure of its label comes first"


def test_without_cleanlab_one_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.rank", None)
    with pytest.raises(NeedNotMetError, match="pip install cleanlab"):
        cleanlab_signals(np.array([0, 1]), np.eye(2))
