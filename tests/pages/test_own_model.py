"""Every page over a run of somebody's own model, and what pages say where its subject is not here."""

import json
import warnings
from pathlib import Path

import pytest

import trak_core as tc
from tests.pages.conftest import commands_on, words
from tests.pages.test_generated import PAGES
from tests.test_own_subject import N_TRAIN, SIZES, a_subject, train_model
from trak_core.engine.subject_build import BY_A_LOOP
from trak_core.training.loop_trainer import IGNORES_SEED


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_it(own_runs, open_page, page):
    app = open_page(page, run="mine", test="5", train="7")
    assert not app.exception
    assert not app.error


def test_the_page_on_evidence_says_what_was_left_out(own_runs, open_page):
    assert BY_A_LOOP in words(open_page("evidence", run="mine"))


def test_pages_say_that_a_file_has_changed_and_do_not_run_it(own_copy, open_page):
    file = own_copy / "my_subject.py"
    file.write_text(file.read_text() + f"\nopen({str(own_copy / 'was_run')!r}, 'w').close()\n")
    (own_copy / "runs" / "mine" / "sources.json").write_text(json.dumps({"subject": str(file)}))
    for page in PAGES:
        app = open_page(page, run="mine", test="5", train="7")
        assert not app.exception
        assert not commands_on(app)
        if page == "explore":
            assert "has changed since; put the old one back" in words(app)
    assert not (own_copy / "was_run").exists()


@pytest.fixture(scope="module")
def bare_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of which something is not known: "scores" was never retrained, "seedless" has no noise ceiling."""
    directory = tmp_path_factory.mktemp("bare")
    trained = [train_model(range(N_TRAIN), seed) for seed in (1, 2)]
    only_scores = a_subject(name="scores", train_model=None, checkpoints=trained)
    tc.measure(tc.build(only_scores, runs_dir=directory, progress=False), methods=["trak", "grad_dot"], progress=False)
    seedless = a_subject(name="seedless", train_model=lambda indices, seed: train_model(indices, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tc.AttributionWarning)
        tc.build(seedless, runs_dir=directory, **SIZES)
    return directory


@pytest.mark.parametrize("run", ["scores", "seedless"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_a_run_of_which_something_is_not_known(bare_runs, open_page, monkeypatch, run, page):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(bare_runs))
    app = open_page(page, run=run, test="5", train="7", picked="7")
    assert not app.exception
    assert not app.error
    assert not commands_on(app)
    if page == "evidence":
        told = {"scores": "One function would add the evidence: train_model(indices, seed)", "seedless": IGNORES_SEED}
        assert told[run] in words(app)
