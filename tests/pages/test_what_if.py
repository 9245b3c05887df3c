"""The basket of picks and the what-if panel, on the Explore page where the panel lies."""

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.components.jobs import background_jobs
from tests.pages.conftest import words
from tests.pages.test_explore import gallery_ids
from tests.subjects import TEST, TRAIN, make_attributor
from tests.test_saving import make_regression
from trak_core.jobs import Jobs, JobStatus
from trak_core.store.run import open_run
from trak_core.store.what_ifs import Question, Verified, WhatIfHistory
from trak_core.views.browse import overview
from trak_core.views.explanation import answer_target

PICKS = "Picked training examples"


def button(app: AppTest, label: str):
    return next(one for one in app.button if one.label == label)


def has_button(app: AppTest, label: str) -> bool:
    return any(one.label == label for one in app.button)


def charts(app: AppTest) -> list[str]:
    """What the figures show, in the words that screen readers get."""
    return [chart.proto.alt if hasattr(chart.proto, "alt") else "" for chart in app.get("plotly_chart")]


def answered(runs: Path, test_idx: int, removed: list[int], n_seeds: int = 10, change: float = -0.75) -> Verified:
    """An answer in the history of the small run, made up."""
    with open_run(runs / "digits") as run:
        fingerprint = run.info.provenance["fingerprint"]
    verified = Verified(
        question=Question(fingerprint, test_idx, tuple(sorted(removed)), n_seeds),
        asked_at=datetime(2030, 1, 2, 3, 4, tzinfo=UTC),
        before=(2.0,) * 10,
        after=(2.0 + change,) * 10,
        low=(change - 0.25,) * 10,
        high=(change + 0.25,) * 10,
        answer_before=1,
        answer_after=1,
        share_flipped=0.2,
        n_pairs=n_seeds,
        seconds=3.0,
    )
    WhatIfHistory(runs / "digits").add(verified)
    return verified


# --- picks --------------------------------------------------------------------------------------------------


def test_picks_come_with_the_address_and_go_into_it(runs, open_page):
    app = open_page("explore", test="17", picked="204.3.17")
    assert not app.exception
    assert gallery_ids(app, PICKS) == [3, 17, 204]
    assert app.query_params["picked"] == "3.17.204"
    button(app, "Top 10 opponents").click().run()
    with open_run(runs / "digits") as run:
        target = answer_target(run, overview(run), 17)
        strongest = run.opponents(17, 10, target=target)["train_idx"].tolist()
    expected = sorted({3, 17, 204, *strongest})
    assert gallery_ids(app, PICKS) == expected
    assert app.query_params["picked"] == ".".join(map(str, expected))
    button(app, "Clear picks").click().run()
    assert "picked" not in app.query_params
    assert "Nothing is picked yet" in words(app)


def test_picks_stay_from_page_to_page(runs, open_page):
    app = open_page("explore", test="17", picked="3.17")
    app.switch_page("pages/evidence.py").run()
    app.switch_page("pages/explore.py").run()
    assert gallery_ids(app, PICKS) == [3, 17]


@pytest.mark.parametrize("bad", ["", "x", "3..4", "-1", "3.99999", "1.5e3", "٣", "9" * 5000, "<b>3</b>"])
def test_bad_picks_are_left_out_with_a_notice(runs, open_page, bad):
    app = open_page("explore", test="17", picked=bad)
    assert not app.exception
    assert "picked" not in app.query_params
    assert "which this run does not have" in words(app)
    assert "Nothing is picked yet" in words(app)


def test_picks_of_one_run_are_not_those_of_another(runs, open_page):
    (runs / "digits").rename(runs / "first")
    shutil.copytree(runs / "first", runs / "second")
    app = open_page("explore", run="first", test="17", picked="3.17")
    assert gallery_ids(app, PICKS) == [3, 17]
    app.selectbox(key="run").set_value("second").run()
    assert not app.exception
    assert "Nothing is picked yet" in words(app)
    assert "picked" not in app.query_params


def many_picks(app: AppTest, n: int) -> AppTest:
    """The page with the first `n` train examples picked, as a lasso does it."""
    from pages.components.picks import _BASKET, _Basket

    app.session_state[_BASKET] = _Basket("digits", tuple(range(n)), is_new=True)
    return app.run()


def test_more_than_500_picks_stay_in_the_session_and_the_page_says_so(runs, open_page):
    app = many_picks(open_page("explore", test="17"), 501)
    assert not app.exception
    assert "picked" not in app.query_params
    assert "501 selected, the first 60 are shown" in words(app)
    assert "More than 500 do not fit into an address" in words(app)
    assert len(gallery_ids(app, PICKS)) == 60
    app = many_picks(app, 500)
    assert app.query_params["picked"] == ".".join(map(str, range(500)))
    assert "do not fit" not in words(app)


# --- prediction ---------------------------------------------------------------------------------------------


def test_the_panel_says_what_is_predicted_without_the_picks(runs, open_page):
    app = open_page("explore", test="17")
    assert "is predicted to" not in words(app)
    button(app, "Top 10 proponents").click().run()
    assert not app.exception
    said = re.search(
        r"Without these 10, the margin of “(.)” is predicted to fall from (-?[0-9.]+) to (-?[0-9.]+)", words(app)
    )
    assert said is not None
    with open_run(runs / "digits") as run:
        target = answer_target(run, overview(run), 17)
        assert said[1] == run.targets(17)[target]
        assert gallery_ids(app, PICKS) == sorted(run.proponents(17, 10, target=target)["train_idx"])
    assert float(said[3]) < float(said[2])
    # Nothing was removed from this run, so that the scale is the default.
    assert "Not calibrated: an estimate until you verify it." in words(app)
    assert has_button(app, "Verify by retraining")


def test_one_pick_is_spoken_of_as_one(runs, open_page):
    said = words(open_page("explore", test="17", picked="3"))
    assert "Without this one, the margin of" in said
    assert "1 selected; click to remove one." in said


def test_a_method_without_unit_predicts_no_number(runs, open_page):
    app = open_page("explore", test="17", method="Random", picked="3.4")
    assert not app.exception
    assert "have no unit, so they predict no number" in words(app)
    assert has_button(app, "Verify by retraining")


def test_what_cannot_be_verified_says_why(runs, open_page):
    with open_run(runs / "digits") as run:
        of_class = [i for i, label in enumerate(run.train_labels.tolist()) if label == 4]
    app = open_page("explore", test="17", picked=".".join(map(str, of_class)))
    assert not app.exception
    assert f"all {len(of_class)} train examples of class '4'" in words(app)
    assert not has_button(app, "Verify by retraining")


@pytest.mark.parametrize("kind", ["classes", "regression"])
def test_a_run_saved_from_python_says_that_it_cannot_be_verified(kind, tmp_path, monkeypatch, open_page):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path))
    if kind == "classes":
        make_attributor(1, precision="float32").fit(TRAIN).save(tmp_path / "mine", TRAIN, TEST, ["a", "b", "c", "d"])
    else:
        make_regression(tmp_path / "mine", task="regression")
    app = open_page("explore", test="1", picked="3.4")
    assert not app.exception
    assert gallery_ids(app, PICKS) == [3, 4]
    assert "its models cannot be retrained here" in words(app)
    assert ("the answer is predicted to" in words(app)) == (kind == "regression")
    assert "until you verify it" not in words(app)
    assert not has_button(app, "Verify by retraining")


# --- verification -------------------------------------------------------------------------------------------


class FakeJobs(Jobs):
    """Jobs that go on only when they are told to."""

    def __init__(self) -> None:
        super().__init__(1)
        self.started: list[tuple[str, list[str], str]] = []
        self.stopped: list[str] = []
        self.now: JobStatus | None = None

    def start(self, key, arguments, text=""):
        self.started.append((key, list(arguments), text))
        self.now = JobStatus("running", 0.4, "training 20 models", 6.0)

    def stop(self, key):
        self.stopped.append(key)
        self.now = JobStatus("stopped")

    def status(self, key):
        return self.now if self.started and key == self.started[-1][0] else None


@pytest.fixture
def jobs(monkeypatch) -> FakeJobs:
    fake = FakeJobs()
    # Where the list is made: pages cannot be imported before there is a script that runs.
    monkeypatch.setattr("pages.components.jobs.Jobs", lambda: fake)
    return fake


@pytest.fixture
def asking(runs, open_page, jobs) -> Callable[[], AppTest]:
    """Opens the page with two picks and asks for verification."""

    def opened() -> AppTest:
        app = open_page("explore", test="17", picked="3.17")
        return button(app, "Verify by retraining").click().run()

    return opened


def test_verifying_starts_the_command_and_shows_its_progress(runs, jobs, asking):
    app = asking()
    assert not app.exception
    ((_, arguments, text),) = jobs.started
    assert arguments == ["what-if", str(runs / "digits"), "--test", "17", "--seeds", "10", "--remove", "-"]
    assert text == "3,17"
    (progress,) = [one.proto for one in app.get("progress")]
    assert progress.value == 40
    assert progress.text == "Retraining: training 20 models, about 6 s left"
    assert not has_button(app, "Verify by retraining")


def test_verifying_can_be_cancelled(jobs, asking):
    app = asking()
    button(app, "Cancel").click().run()
    assert not app.exception
    assert jobs.stopped == [jobs.started[0][0]]
    assert "Retraining was cancelled; nothing was kept of it." in words(app)
    assert has_button(app, "Verify by retraining")


def test_waiting_for_others_is_said(jobs, asking):
    app = asking()
    jobs.now = JobStatus("waiting", n_before=1)
    app.run()
    (progress,) = [one.proto for one in app.get("progress")]
    assert progress.text == "Waiting for its turn, 1 before it."


def test_a_failure_is_told_as_it_is(jobs, asking):
    app = asking()
    jobs.now = JobStatus("failed", message="training diverged in *9* of 10 pairs")
    app.run()
    assert not app.exception
    assert "Retraining failed: training diverged in *9* of 10 pairs" in words(app)
    assert has_button(app, "Verify by retraining")


def test_what_was_verified_stands_beside_what_was_predicted(runs, open_page):
    answered(runs, 17, [17, 3])
    app = open_page("explore", test="17", picked="3.17")
    assert not app.exception
    assert (
        "Retrained 10 times with and without them, it fell from 2.00 to 1.25: -0.75, 95% interval -1.00 to -0.50. "
        "The answer changed in 20% of the pairs."
    ) in words(app)
    figures = [json.loads(chart.proto.spec or chart.proto.figure.spec) for chart in app.get("plotly_chart")]
    names = [[trace.get("name") for trace in figure["data"]] for figure in figures]
    assert ["predicted", "actual, with 95% interval"] in names
    assert not has_button(app, "Verify by retraining")


def test_the_history_is_listed_and_drawn(runs, open_page):
    for test_idx, removed in ((17, [3]), (17, [4, 5]), (20, [6])):
        answered(runs, test_idx, removed)
    app = open_page("explore", test="17")
    assert not app.exception
    assert "3 what-ifs were verified for this run, 2 of them for this test example." in words(app)
    table = next(one.value for one in app.dataframe if "answers changed" in one.value)
    assert table["test example"].tolist() == [17, 17, 20]
    assert table["actual"].tolist() == pytest.approx([-0.75] * 3)


def test_a_new_answer_is_seen_without_a_restart(runs, open_page):
    answered(runs, 17, [3])
    app = open_page("explore", test="17")
    assert "1 what-if was verified" in words(app)
    answered(runs, 17, [4])
    app.run()
    assert "2 what-ifs were verified" in words(app)


def test_a_damaged_history_is_said_and_the_page_goes_on(runs, open_page):
    (runs / "digits" / "reviews.duckdb").write_bytes(b"nothing of the kind" * 1000)
    app = open_page("explore", test="17", picked="3")
    assert not app.exception
    assert "The history of this run cannot be read" in words(app)
    assert "Without this one, the margin of" in words(app)


def test_all_pages_share_one_list_of_jobs():
    assert background_jobs() is background_jobs()
