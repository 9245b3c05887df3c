"""Pages of a run whose build has got no further than suspects, or has no evidence yet."""

import shutil

import duckdb
import numpy as np
import pytest
from PIL import Image

from tests.pages.conftest import commands_on, done_at_once, successes, words
from tests.pages.test_review import press
from trak_core.datasets import load_digits
from trak_core.datasets.custom_data import CustomData
from trak_core.engine.custom_build import CustomBuild, build_custom_data
from trak_core.store.files import RunFiles
from trak_core.store.run import open_run
from trak_core.store.writer import build_lock
from trak_core.views.no_trust import UNDER_WAY

PAGES = ("explore", "training_item", "map", "present", "evidence")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty-five digits of three classes."""
    root, digits = tmp_path_factory.mktemp("own") / "digits", load_digits().train
    for label in range(3):
        (root / str(label)).mkdir(parents=True)
        for number in np.flatnonzero(digits.labels == label)[:15]:
            pixels = digits.inputs[number].reshape(8, 8)
            grey = np.round(255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)
            Image.fromarray(grey).save(root / str(label) / f"{number}.png")
    return root


def build(folder, runs, stop_at="", minutes=1e-6):
    def listener(status):
        if status.step == stop_at:
            raise KeyboardInterrupt

    try:
        build_custom_data(
            CustomData("image-folder", folder), CustomBuild(minutes=minutes), "own", runs, listener=listener
        )
    except KeyboardInterrupt:
        pass


@pytest.fixture(scope="module")
def with_suspects(folder, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    build(folder, runs, "computing gradients")
    return runs


@pytest.fixture(scope="module")
def without_evidence(folder, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    build(folder, runs)
    return runs


@pytest.mark.parametrize("page", PAGES)
def test_pages_that_need_scores_say_that_there_are_none_yet(page, with_suspects, open_page, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(with_suspects))
    app = open_page(page, run="own")
    assert not app.exception
    said = words(app)
    assert "The scores are not there yet" in said
    assert "Labels that look wrong are there already." in said


@pytest.mark.parametrize("page", ["home", "review", "runs"])
def test_suspects_are_shown_before_there_are_scores(page, with_suspects, open_page, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(with_suspects))
    app = open_page(page, run="own")
    assert not app.exception
    if page == "review":
        assert "No suspects yet" not in words(app)
        assert "is told once the run has scores." in words(app)
        assert "None." not in words(app).splitlines()
        with open_run(with_suspects / "own") as run:
            assert not run.has_scores
            first = run.rows("SELECT train_idx FROM suspects WHERE signal = 'combined' ORDER BY rank LIMIT 1")[0][0]
        assert f"Training example {first}" in words(app) or f"{first}" in words(app)


@pytest.mark.parametrize("page", ["home", "explore", "training_item", "map", "present", "review", "runs"])
def test_pages_of_a_run_without_evidence_work(page, without_evidence, open_page, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(without_evidence))
    app = open_page(page, run="own")
    assert not app.exception
    assert not commands_on(app)


def test_evidence_says_what_it_would_take_and_a_button_starts_it(without_evidence, open_page, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(without_evidence))
    started = []
    monkeypatch.setattr("trak_core.jobs.Jobs.start_build", lambda jobs, path, command: started.append(command))
    app = open_page("evidence", run="own")
    assert not app.exception
    assert "Trust is not measured yet" in words(app)
    assert "Not measured yet: about " in words(app)
    next(field for field in app.number_input if field.label == "Minutes").set_value(0.7).run()
    next(button for button in app.button if button.label == "Measure trust").click().run()
    assert started == [["extend", "own", "--minutes", "0.7"]]


@pytest.mark.parametrize("page", ["explore", "present", "home", "runs"])
def test_where_evidence_is_to_come_a_link_leads_to_it(page, without_evidence, open_page, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(without_evidence))
    app = open_page(page, run="own")
    said = words(app)
    assert "Trust is not measured yet: about " in said
    assert "Nothing was retrained" not in said
    assert ("Measure trust", "evidence") in [(link.proto.label, link.proto.page) for link in app.get("page_link")]


def test_while_evidence_is_measured_the_badge_says_so(without_evidence, open_page, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(without_evidence))
    with build_lock(RunFiles(without_evidence / "own")):
        said = words(open_page("explore", run="own"))
    assert UNDER_WAY in said
    assert "not measured yet: about" not in said


def test_a_class_that_retrained_models_were_not_asked_about_is_told_apart(small_runs, tmp_path, open_page, monkeypatch):
    shutil.copytree(small_runs, tmp_path / "runs")
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    with duckdb.connect(str(tmp_path / "runs" / "digits" / "store.duckdb")) as connection:
        connection.execute("DELETE FROM lds WHERE method = 'random'")
        connection.execute("UPDATE lds SET lds = NULL, trust = 'not measured' WHERE method = 'embedding'")
    said = words(open_page("explore", test="17", method="Random"))
    assert "Not measured: the retrained models were not compared with Random for this." in said
    said = words(open_page("explore", test="17", method="Embedding similarity"))
    assert "LDS is undefined here: the retrained models say the same for every half." in said


def test_the_cleaned_copy_of_a_folder_is_made_by_a_button(folder, without_evidence, tmp_path, open_page, monkeypatch):
    shutil.copytree(without_evidence, tmp_path / "runs")
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path / "runs"))
    done_at_once(monkeypatch)
    app = open_page("review", run="own", reviewer="me")
    press(app, "w")
    next(button for button in app.button if button.label == "Prepare cleaned data").click().run()
    next(button for button in app.button if button.label == "Write the cleaned copy").click().run()
    assert not app.exception
    assert not commands_on(app)
    copy = folder.with_name("digits-cleaned")
    assert not app.error
    assert f"The cleaned data are in {copy}." in successes(app)
    before, after = ({path.relative_to(root) for path in root.rglob("*.png")} for root in (folder, copy))
    assert len(after) == len(before)
    assert len(after - before) == 1
    shutil.rmtree(copy)
