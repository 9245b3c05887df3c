"""The headline, the controls and the button that judges somebody's scores, on pages as people see them."""

import io
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.old_runs import restore_run
from tests.pages.conftest import words
from tests.pages.test_evidence import set_meta
from tests.test_blind_runs import numbers_unseen
from trak_core.engine import BuildSettings, build_run
from trak_core.exchange.evaluating import evaluate
from trak_core.jobs import Jobs, JobStatus
from trak_core.store.run import open_run
from trak_core.subjects import Recipe
from trak_core.views.evidence import board

DOES_AS_WELL = "Same class does as well: LDS 0."


@pytest.fixture
def blind(truth_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAK_RUNS_DIR", str(truth_runs))
    return truth_runs


@pytest.mark.parametrize("page", ["evidence", "explore", "present", "training_item", "home", "map", "review"])
def test_no_page_trusts_a_run_whose_inputs_are_all_zero(blind, open_page, page):
    app = open_page(page, run="zeroed")
    assert not app.exception
    said = words(app)
    assert "trust: high" not in said and "trust: moderate" not in said
    assert ":green-badge[:material/verified: beats the controls]" not in said


def test_the_headline_of_a_blind_run_says_that_scores_only_follow_class_shares(blind, open_page):
    said = words(open_page("evidence", run="zeroed"))
    assert "the scores only follow how many examples of each class a half has." in said
    assert "does not beat the controls" in said
    assert DOES_AS_WELL in said
    assert (
        "10 classes need 24 random halves, and there are 16; more would do. Trust is low: Same class reaches LDS"
        in said
    )


@pytest.mark.parametrize("page", ["explore", "present"])
def test_a_simple_rule_that_does_as_well_is_named_where_trust_stands(blind, open_page, page):
    assert words(open_page(page, run="zeroed", test="5")).count(DOES_AS_WELL) == 1


def test_the_board_shows_lds_at_fixed_class_counts_beside_lds(blind, open_page):
    with open_run(blind / "unknown") as run:
        row = board(run).row("trak")
    app = open_page("evidence", run="unknown")
    said = words(app)
    assert f"At fixed class counts: LDS {row.fixed:.2f} (" in said
    table = app.dataframe[0].value.set_index("method")
    assert table.loc["TRAK", "fixed counts: LDS"] == round(row.fixed, 3)
    names = [trace["name"] for trace in _figure(app, 0)["data"]]
    assert names == ["LDS", "LDS at fixed class counts"]


def _figure(app, place: int) -> dict:
    import json

    return json.loads(app.get("plotly_chart")[place].proto.spec)


def test_a_falling_curve_is_called_so(runs, open_page):
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        for n, lds in ((1, 0.9), (3, 0.5)):
            connection.execute(
                "UPDATE lds_summary SET lds = ?, ci_low = ?, ci_high = ? WHERE method = 'trak' AND n_checkpoints = ?",
                [lds, lds - 0.05, lds + 0.05, n],
            )
    said = words(open_page("evidence"))
    assert "**More checkpoints, worse scores**" in said
    assert "better scores" not in said


@pytest.mark.parametrize("version", [4, 5])
def test_a_run_of_an_older_version_shows_what_it_lacks(tmp_path, monkeypatch, open_page, version):
    run_dir = restore_run(version, "digits", tmp_path / "runs")
    set_meta(run_dir, "measured_every_method", True)
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    for page in ("evidence", "explore"):
        app = open_page(page, test="2")
        assert not app.exception
        assert "nan" not in words(app).lower().replace("provenance", "")
    said = words(open_page("evidence"))
    assert "Negative controls are not measured in this run; measuring every method adds them." in said
    assert "beats the controls" not in said


def test_a_run_without_classes_says_so_and_what_trust_goes_by(tmp_path, monkeypatch, open_page):
    """Here one whose inputs are all zero, besides."""
    recipe = Recipe("unseen", "Unseen", "Inputs that are all zero.", numbers_unseen, 2, 4, 40, 2, 2)
    build_run(BuildSettings.of(recipe, 0, "cpu"), "numbers", tmp_path, recipe=recipe)
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path))
    app = open_page("evidence")
    assert not app.exception
    said = words(app)
    assert "there are no classes whose shares differ. Trust goes by LDS and the controls." in said
    assert "the scores only follow the targets of a half." in said
    assert "Target value does as well: LDS 0." in said
    assert "fixed counts: LDS" not in app.dataframe[0].value.columns
    assert "trust: low" in words(open_page("explore", test="3"))


# --- judging -------------------------------------------------------------------------------------------------


class Instantly:
    """Jobs that are done, or have failed, as soon as they are started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusals: list[str]) -> None:
        self.commands: list[list[str]] = []
        self.refusals = refusals
        self.said: dict[str, JobStatus] = {}
        monkeypatch.setattr(Jobs, "start", lambda jobs, key, command, **rest: self._start(key, list(command)))
        monkeypatch.setattr(Jobs, "status", lambda jobs, key: self.said.get(key))
        monkeypatch.setattr(Jobs, "forget", lambda jobs, key: self.said.pop(key, None))

    def _start(self, key: str, command: list[str]) -> None:
        self.commands.append(command)
        if self.refusals:
            self.said[key] = JobStatus("failed", message=self.refusals.pop(0))
            return
        evaluate(command[1], Path(command[2]), command[4], replaces="--replace" in command)
        self.said[key] = JobStatus("done")


@pytest.fixture
def file(runs: Path) -> Iterator[tuple[str, bytes, str]]:
    with open_run(runs / "digits") as run:
        held = io.BytesIO()
        np.save(held, run.scores("trak"))
    yield "scores.npy", held.getvalue(), "application/octet-stream"


@pytest.fixture
def turned(runs: Path) -> tuple[str, bytes, str]:
    """A row for each training example, and one test example without a score."""
    with open_run(runs / "digits") as run:
        scores = run.scores("trak").copy()
    scores[2], held = 0, io.BytesIO()
    np.save(held, scores.T)
    return "scores.npy", held.getvalue(), "application/octet-stream"


def judge(app, file=None, name=None):
    if file is not None:
        app.file_uploader(key="judging file").set_value(file).run()
    if name is not None:
        app.text_input(key="judging name").set_value(name).run()
    next(button for button in app.button if button.label in ("Judge", "Replace and judge")).click().run()
    return app


def test_scores_that_are_given_on_the_page_join_the_board(runs, open_page, file, monkeypatch):
    jobs = Instantly(monkeypatch, [])
    app = judge(open_page("evidence"), file, "mine")
    assert not app.exception
    assert jobs.commands[0][0] == "evaluate" and jobs.commands[0][3:] == ["--name", "mine"]
    assert Path(jobs.commands[0][2]).read_bytes() == file[1]
    assert "“mine” is on the board" in "\n".join(str(each.value) for each in app.success)
    table = app.dataframe[0].value.set_index("method")
    assert table.loc["mine", "kind"] == "judged here"
    assert table.loc["mine", "LDS"] == table.loc["TRAK", "LDS"]
    again = judge(app, None, "mine")
    assert jobs.commands[1][3:] == ["--name", "mine", "--replace"]
    assert not again.exception


def test_what_was_decided_about_scores_is_said_where_they_are_judged(runs, open_page, turned, monkeypatch):
    Instantly(monkeypatch, [])
    app = judge(open_page("evidence"), turned, "mine")
    said = "\n".join(str(each.value) for each in app.success)
    assert "came with a row for each training example" in said and "was turned" in said
    assert "1 test example has the same score for all training examples" in said


def test_a_question_is_asked_only_when_the_scores_leave_it_open(runs, open_page, file, monkeypatch):
    refusal = "scores.npy looks as if negative scores help: t = -9; --sign reversed turns them round."
    jobs = Instantly(monkeypatch, [refusal])
    app = open_page("evidence")
    assert not any(box.key == "judging --sign" for box in app.selectbox)
    judge(app, file, "mine")
    said = words(app)
    assert "looks as if negative scores help: t = -9; answer the question above." in said
    assert "--sign" not in said
    app.selectbox(key="judging --sign").set_value("yes: turn the sign round").run()
    judge(app)
    assert jobs.commands[1][5:] == ["--sign", "reversed"]


def test_without_a_file_or_a_name_nothing_begins(runs, open_page, file, monkeypatch):
    jobs = Instantly(monkeypatch, [])
    assert "Give a file of scores." in words(judge(open_page("evidence"), None, "mine"))
    assert "Give a name for the scores." in words(judge(open_page("evidence"), file))
    assert jobs.commands == []
