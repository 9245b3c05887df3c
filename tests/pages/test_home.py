import pytest

from tests.conftest import SMALL
from tests.pages.conftest import words
from trak_core.engine import BuildSettings, build_run
from trak_core.subjects import find_recipe


def test_home_shows_the_run_with_its_evidence_and_stories(runs, open_page):
    app = open_page("home")
    assert not app.exception
    said = words(app)
    assert "1,437 training examples, 360 test examples" in said
    assert "LDS 0." in said
    assert "A mistake and what is behind it" in said
    assert app.selectbox(key="run").value == "digits"


def test_home_shows_a_damaged_run_and_goes_on(runs, open_page):
    (runs / "broken").mkdir()
    (runs / "broken" / "store.duckdb").write_bytes(b"not a database")
    app = open_page("home", run="digits")
    assert not app.exception
    assert "cannot be opened" in words(app)
    assert "is damaged and cannot be read" in words(app)


def test_home_still_lists_the_runs_when_the_one_picked_is_damaged(runs, open_page):
    (runs / "digits" / "store.duckdb").write_bytes(b"not a database")
    app = open_page("home")
    assert not app.exception
    assert "cannot be opened" in words(app)
    assert "This run cannot be opened" in words(app)


def test_a_stopped_build_can_be_gone_on_with(runs, open_page, monkeypatch):
    def stop(status):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_run(BuildSettings.of(find_recipe("digits"), 5, "cpu", **SMALL), "unfinished", runs, stop)
    started = []
    monkeypatch.setattr("trak_core.jobs.Jobs.start_build", lambda self, run_dir, command: started.append(command))
    app = open_page("home")
    assert "stopped" in words(app)
    app.button(key="go on unfinished").click().run()
    assert started[0][:6] == ["build", "digits", "--name", "unfinished", "--seed", "5"]


def test_home_without_any_run_starts_a_build_and_shows_its_progress(no_runs, open_page, monkeypatch):
    started = []
    monkeypatch.setattr("trak_core.jobs.Jobs.start_build", lambda self, run_dir, command: started.append(command))
    app = open_page("home")
    assert not app.exception
    assert started == [["build", "digits"]]
    assert "Building your first run" in words(app)
    assert app.get("progress")


def test_home_says_why_the_first_build_failed_and_offers_another_try(no_runs, open_page, monkeypatch):
    monkeypatch.setattr("trak_core.jobs.Jobs.failure", lambda self, run_dir: "cannot write there: the disk is full.")
    started = []
    monkeypatch.setattr("trak_core.jobs.Jobs.start_build", lambda self, run_dir, command: started.append(command))
    app = open_page("home")
    assert "The first run could not be built: cannot write there: the disk is full." in words(app)
    assert started == []
    next(button for button in app.button if button.label == "Try again").click().run()
    assert started == [["build", "digits"]]


def test_an_address_with_a_run_that_is_only_begun_says_so(runs, open_page):
    (runs / "begun" / "build").mkdir(parents=True)
    said = words(open_page("home", run="begun"))
    assert "There is nothing to see of “begun” yet; Home shows how far its build is; this is “digits”." in said


def test_an_address_with_an_unknown_run_says_so(runs, open_page):
    app = open_page("home", run="nope")
    assert not app.exception
    assert "There is no run “nope” here; this is “digits”." in words(app)
