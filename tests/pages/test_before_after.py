"""The before-and-after panel, on the Label review page where it lies."""

import json
import re
from datetime import UTC, datetime

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import words
from tests.pages.test_explore import gallery_ids
from tests.pages.test_what_if import FakeJobs, button
from trak_core.evidence.retraining import TestAnswers, compare_label_sets
from trak_core.jobs import JobStatus
from trak_core.store.retrainings import Corrections, LabelTrial, Retraining, RetrainingHistory
from trak_core.store.reviews import Reviews
from trak_core.store.run import open_run
from trak_core.views.retraining import changed_tests, corrections_of, gain_sentence, why_changed
from trak_core.views.review import data_fingerprint

RETRAIN = "Retrain on the cleaned labels"
N_CAME = 9
"""Test examples that come right in the retraining made up here; one goes wrong."""


@pytest.fixture
def reviews(runs) -> Reviews:
    with open_run(runs / "digits") as run:
        return Reviews(runs / "digits", data_fingerprint(run))


@pytest.fixture
def jobs(monkeypatch) -> FakeJobs:
    fake = FakeJobs()
    # Where the list is made: pages cannot be imported before there is a script that runs.
    monkeypatch.setattr("pages.components.jobs.Jobs", lambda: fake)
    return fake


def found_wrong(reviews: Reviews, n: int = 30) -> None:
    """Verdicts that find the first labels wrong, every third to be excluded."""
    with open_run(reviews._file.path.parent) as run:
        for idx in range(n):
            if idx % 3:
                reviews.record(idx, "relabel", "ann", (run.label("train", idx) + 1) % 10)
            else:
                reviews.record(idx, "exclude", "ann")


def retrained(runs, reviews: Reviews, came_right: int = N_CAME, n_seeds: int = 10) -> Retraining:
    """An answer about the labels as they are reviewed now, made up: the first test examples come right."""
    with open_run(runs / "digits") as run:
        trial = LabelTrial(run.info.provenance["fingerprint"], corrections_of(run, reviews.read()), n_seeds)
        labels = run.test_labels
    before, after = np.tile(labels, (n_seeds, 1)), np.tile(labels, (n_seeds, 1))
    before[:, :came_right] = (labels[:came_right] + 3) % 10
    after[:, 20] = (labels[20] + 5) % 10
    margins = np.where(before == labels, 2.0, -1.0), np.where(after == labels, 2.0, -1.5)
    found = {
        "kept": TestAnswers(margins[0], before),
        "cleaned": TestAnswers(margins[1], after),
        "excluded": TestAnswers(margins[1], after),
    }
    result = compare_label_sets(trial, found, labels, 3.0)
    RetrainingHistory(runs / "digits").add(result)
    return result


def is_disabled(app: AppTest) -> bool:
    return button(app, RETRAIN).disabled


def test_there_is_nothing_to_retrain_before_something_is_found_wrong(runs, open_page, reviews, jobs):
    reviews.record(3, "keep", "ann")
    reviews.record(4, "unsure", "ann")
    app = open_page("review", reviewer="ann")
    assert not app.exception
    assert is_disabled(app)
    assert "No label was found wrong yet: relabel or exclude an example first." in words(app)
    reviews.record(5, "exclude", "ann")
    app.run()
    assert not is_disabled(app)
    assert "No label was found wrong yet" not in words(app)


def test_a_run_that_cannot_be_retrained_says_why(runs, open_page, reviews):
    import duckdb

    found_wrong(reviews, 3)
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = '\"python\"' WHERE key = 'recipe'")
    app = open_page("review", reviewer="ann")
    assert not app.exception
    assert is_disabled(app)
    assert "its models cannot be retrained here" in words(app)


def test_retraining_starts_the_command_and_shows_its_progress(runs, open_page, reviews, jobs):
    found_wrong(reviews)
    app = open_page("review", reviewer="ann")
    app.selectbox(key="retraining_seeds").set_value(20).run()
    button(app, RETRAIN).click().run()
    assert not app.exception
    ((_, arguments, text),) = jobs.started
    assert arguments == ["retrain", str(runs / "digits"), "--n-seeds", "20"]
    assert text == ""
    assert "Retraining: training 20 models, about 6 s left" in [one.proto.text for one in app.get("progress")]
    assert not any(one.label == RETRAIN for one in app.button)
    button(app, "Cancel").click().run()
    assert not app.exception
    assert jobs.stopped == [jobs.started[0][0]]
    assert "Retraining was cancelled; nothing was kept of it." in words(app)
    assert not is_disabled(app)


def test_reviewing_goes_on_while_models_train(runs, open_page, reviews, jobs):
    found_wrong(reviews, 3)
    app = open_page("review", reviewer="ann")
    button(app, RETRAIN).click().run()
    next(one for one in app.button if one.proto.shortcut.lower() == "e").click().run()
    assert not app.exception
    assert len(reviews.read().latest) == 4
    assert any(one.proto.text.startswith("Retraining:") for one in app.get("progress"))


def test_a_failure_is_told_as_it_is(runs, open_page, reviews, jobs):
    found_wrong(reviews, 3)
    app = open_page("review", reviewer="ann")
    button(app, RETRAIN).click().run()
    jobs.now = JobStatus("failed", message="training diverged for *9* of 10 seeds")
    app.run()
    assert not app.exception
    assert "Retraining failed: training diverged for *9* of 10 seeds" in words(app)
    assert not is_disabled(app)


def test_accuracy_before_and_after_is_said_and_drawn(runs, open_page, reviews):
    found_wrong(reviews)
    found = retrained(runs, reviews)
    app = open_page("review", reviewer="ann")
    assert not app.exception
    assert gain_sentence(found) in words(app)
    assert re.search(r"Test accuracy rose from 97\.5% to 99\.7% with the cleaned labels: \+2\.2 points", words(app))
    assert "With all 30 that were found wrong removed it was 99.7%: +2.2 points" in words(app)
    assert "10 models on each set of labels; 20 relabelled, 10 excluded." in words(app)
    assert is_disabled(app)
    assert "These very labels were retrained; see below." in words(app)
    (figure,) = [json.loads(chart.proto.spec or chart.proto.figure.spec) for chart in app.get("plotly_chart")]
    assert figure["layout"]["xaxis"]["ticktext"] == ["as given", "cleaned", "wrong ones removed"]
    means = [trace["y"][0] for trace in figure["data"][1:]]
    assert means == pytest.approx([97.5, 99.7222, 99.7222], abs=1e-3)
    app.selectbox(key="retraining_seeds").set_value(20).run()
    assert not is_disabled(app)


def test_no_difference_is_said_calmly(runs, open_page, reviews):
    found_wrong(reviews)
    found = retrained(runs, reviews, came_right=1)
    app = open_page("review", reviewer="ann")
    assert found.gain_cleaned.mean == 0
    assert "not statistically significant" in words(app)


def test_what_changed_is_shown_with_its_reasons_and_a_click_asks_for_others(runs, open_page, reviews):
    found_wrong(reviews)
    found = retrained(runs, reviews)
    with open_run(runs / "digits") as run:
        changed = changed_tests(run, found)
        reasons = {one.example.idx: [r.example.idx for r in why_changed(run, found, one)] for one in changed}
    app = open_page("review", reviewer="ann")
    came = [one.example.idx for one in changed if one.came_right]
    assert sorted(came) == list(range(N_CAME))
    assert gallery_ids(app, "Fixed test examples") == came
    assert gallery_ids(app, "Broken test examples") == [20]
    assert "Fixed: 9" in words(app) and "Broken: 1" in words(app)

    def shown(test_idx: int, did: str) -> list[int]:
        assert f"Why test example {test_idx} {did}" in words(app)
        return gallery_ids(app, f"Why test example {test_idx} {did}") if reasons[test_idx] else []

    assert shown(came[0], "was fixed") == reasons[came[0]]
    app.session_state["changed test"] = 20
    app.run()
    assert not app.exception
    assert shown(20, "broke") == reasons[20]
    app.session_state["changed test"] = came[4]
    app.run()
    assert shown(came[4], "was fixed") == reasons[came[4]]
    assert sum(map(len, reasons.values())) > 0


def test_the_page_says_when_verdicts_have_changed_since(runs, open_page, reviews):
    found_wrong(reviews, 6)
    retrained(runs, reviews)
    app = open_page("review", reviewer="ann")
    assert "The review has gone on since" not in words(app)
    reviews.record(40, "exclude", "ann")
    app.run()
    assert "The review has gone on since: 1 training example has another verdict" in words(app)
    assert not is_disabled(app)
    reviews.record(0, "keep", "ann")
    app.run()
    assert "2 training examples have another verdict than the labels that were retrained here" in words(app)


def test_answers_about_the_run_as_it_was_built_before_are_not_shown(runs, open_page, reviews):
    found_wrong(reviews, 3)
    found = retrained(runs, reviews)
    old = LabelTrial("another build", Corrections(excluded=(1,)), 10)
    (runs / "digits" / "reviews.duckdb").unlink()
    found_wrong(reviews, 3)
    RetrainingHistory(runs / "digits").add(
        Retraining(**{**found.__dict__, "trial": old, "asked_at": datetime(2030, 1, 1, tzinfo=UTC)})
    )
    app = open_page("review", reviewer="ann")
    assert not app.exception
    assert "Test accuracy" not in words(app)


def test_the_view_that_is_taken_away_holds_the_outcome(runs, open_page, reviews, monkeypatch):
    found_wrong(reviews)
    found = retrained(runs, reviews)
    taken: list[object] = []
    monkeypatch.setattr("pages.components.export.noted", lambda: taken.append(1) or [])
    app = open_page("review", reviewer="ann")
    blocks = app.session_state["shown on this page"]
    assert gain_sentence(found) in blocks["before after: gain"].text
    table = blocks["before after: changed"].frame
    assert len(table) == N_CAME + 1
    assert taken


def test_what_cannot_be_read_gets_a_sentence_and_the_page_goes_on(runs, open_page, reviews):
    import duckdb

    found_wrong(reviews, 3)
    retrained(runs, reviews)
    with duckdb.connect(str(runs / "digits" / "reviews.duckdb")) as connection:
        connection.execute("UPDATE retrainings SET result = '[]'")
    app = open_page("review", reviewer="ann")
    assert not app.exception
    assert "What was retrained before cannot be read" in words(app)
    assert "Last verdicts" in words(app)
