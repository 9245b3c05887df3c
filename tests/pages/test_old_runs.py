"""The explorer shows runs of older versions."""

import pytest

from tests.old_runs import restore_run
from tests.pages.conftest import words
from tests.pages.test_explore import gallery_ids
from trak_core.store.run import open_run
from trak_core.views.browse import overview
from trak_core.views.explanation import answer_target


@pytest.fixture
def old_runs(tmp_path, monkeypatch):
    for name in ("digits", "prices"):
        restore_run(4, name, tmp_path / "runs")
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_home_tells_what_they_are(old_runs, open_page):
    app = open_page("home", run="digits")
    assert not app.exception
    assert "30 training examples, 10 test examples" in words(app)
    assert "cannot be opened" not in words(app)


@pytest.mark.parametrize("name", ["digits", "prices"])
def test_explore_explains_their_predictions(old_runs, open_page, name):
    app = open_page("explore", run=name, test="2")
    assert not app.exception
    with open_run(old_runs / name) as run:
        target = answer_target(run, overview(run), 2)
        assert gallery_ids(app, "proponent") == run.proponents(2, k=12, target=target)["train_idx"].tolist()


def test_review_shows_what_was_said_of_them(old_runs, open_page):
    app = open_page("review", run="digits", reviewer="Ada", train="3")
    assert not app.exception
    assert "looks like a five" in words(app)
    assert "2 of 30 reviewed, 2 of 2 judged were wrong" in app.get("progress")[0].proto.text
